//! What integration tests share: real services, started and removed for them.

pub(crate) mod bench;
pub(crate) mod certificates;
pub(crate) mod clients;
pub(crate) mod collector;
pub(crate) mod conversation;
pub(crate) mod files;
pub(crate) mod foreign;
pub(crate) mod guard_script;
pub(crate) mod mindful;
pub(crate) mod poison;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod rabbitmq;
pub(crate) mod small_disk;
pub(crate) mod watched;
pub(crate) mod written;
