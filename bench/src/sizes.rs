//! The sizes that a bench goes through: `PLIMSOLL_BENCH_SIZES`, such as `4M,256M,1G`.

use anyhow::{Result, bail};
use plimsoll_units::Bytes;

/// Those of the environment, or else these.
///
/// # Errors
/// Where one is no size.
pub fn sizes(otherwise: &str) -> Result<Vec<Bytes>> {
    let text = std::env::var("PLIMSOLL_BENCH_SIZES").unwrap_or_else(|_| otherwise.to_owned());
    text.split(',').map(size).collect()
}

/// One size.
///
/// # Errors
/// It is none.
pub fn size(text: &str) -> Result<Bytes> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let shift = match unit {
        "M" => 20,
        "G" => 30,
        _ => bail!("{text:?} is no size such as 256M or 1G"),
    };
    Ok(Bytes(number.parse::<u64>()? << shift))
}
