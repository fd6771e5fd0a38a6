//! What tests share: services to run against.

pub(crate) mod postgres;
