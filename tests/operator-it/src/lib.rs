//! operator-it
