//! Images that CRIU 4.2 wrote, and what becomes of them here.

#[cfg(test)]
mod convert;
#[cfg(test)]
mod crit;
#[cfg(test)]
mod criu_images;
#[cfg(test)]
mod diff;
#[cfg(test)]
mod sets;
#[cfg(test)]
mod verify;
