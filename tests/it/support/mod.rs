//! The shared parts of the integration tests: real services, started and removed for them.

pub(crate) mod bench;
pub(crate) mod certificates;
pub(crate) mod clients;
pub(crate) mod collector;
pub(crate) mod files;
pub(crate) mod foreign;
pub(crate) mod guard_script;
pub(crate) mod interactive_process;
pub(crate) mod log_buffer;
pub(crate) mod mindful;
pub(crate) mod monitored_worker;
pub(crate) mod poison;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod rabbitmq;
pub(crate) mod small_disk;
