//! Guests that really boot, one run for each kernel; in modules so that one binary holds them all.

mod guests;
