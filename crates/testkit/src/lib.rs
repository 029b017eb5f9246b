//! What the tests stand on: needs that are declared, and victims that check themselves.
