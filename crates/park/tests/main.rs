//! Parking, tested from outside.

#[cfg(test)]
mod family;
#[cfg(test)]
mod lineage;
#[cfg(test)]
mod own_swap;
#[cfg(test)]
mod rounds;
#[cfg(test)]
mod store;
#[cfg(test)]
mod surgeon;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod wake;
