//! Why a call brought no answer, and the bounds that make it so.
//!
//! Owns the bounds of memory and tables of one instance. Refuses to know what an instance does.

use wasmtime::{ResourceLimiter, Trap, WasmBacktrace};

use super::reason::clean;

/// Elements of all tables of an instance together; Python has some 10,000.
pub(super) const TABLE_ELEMENTS: usize = 200_000;
/// Core instances, tables and memories of one component. Those of Python are about 20.
pub(super) const INSTANCES: usize = 100;

/// It is the plugin's fault, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// `limits.deadline`.
    #[error("deadline: it was busy for more than {0} ms")]
    Deadline(u64),
    /// `limits.timeout`.
    #[error("timeout: it took more than {0} ms with all waiting")]
    Timeout(u64),
    /// `limits.memory`, octets.
    #[error("memory: it wanted more than {0} octets")]
    Memory(usize),
    /// Too many table elements.
    #[error("memory: it wanted more than {0} table elements")]
    Table(usize),
    /// `limits.host-calls`.
    #[error("budget: it called the host more than {0} times")]
    Budget(u32),
    /// Anything else that it did.
    #[error("trap: {0}")]
    Trap(String),
    /// Not the plugin's fault, or that of its other instances.
    #[error("busy: all {0} instances were in use")]
    Busy(u32),
    /// It failed too often.
    #[error("resting: it failed too often and is tried again later")]
    Resting,
    /// Ours: the host's side of a call broke.
    #[error("the host failed: {0}")]
    Host(String),
}

impl Failure {
    /// Does it say something about the plugin?
    pub(super) fn counts(&self) -> bool {
        !matches!(self, Self::Busy(_) | Self::Resting | Self::Host(_))
    }

    /// What a call's error means.
    pub(super) fn of(error: &wasmtime::Error, deadline: u64) -> Self {
        if let Some(failure) = error.downcast_ref::<Self>() {
            return failure.clone();
        }
        if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
            return Self::Deadline(deadline);
        }
        let mut cause = error.root_cause().to_string();
        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
            for name in backtrace.frames().iter().filter_map(|frame| frame.func_name()).take(4) {
                cause = format!("{cause} in {name}");
            }
        }
        // Names are the plugin's own.
        Self::Trap(clean(&cause, 400))
    }
}

/// Bounds one instance.
#[derive(Debug)]
pub(super) struct Limiter {
    most: usize,
    /// Octets of all its memories together.
    pub(super) memory: usize,
    elements: usize,
}

impl Limiter {
    pub(super) fn new(most: usize) -> Self {
        Self { most, memory: 0, elements: 0 }
    }
}

impl ResourceLimiter for Limiter {
    /// More than allowed ends the call, for most languages can not go on anyway, and the operator reads the cause.
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let memory = self.memory.saturating_add(desired.saturating_sub(current));
        if memory > self.most {
            return Err(Failure::Memory(self.most).into());
        }
        self.memory = memory;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.elements.saturating_add(desired.saturating_sub(current));
        if elements > TABLE_ELEMENTS {
            return Err(Failure::Table(TABLE_ELEMENTS).into());
        }
        self.elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        INSTANCES
    }

    fn memories(&self) -> usize {
        INSTANCES
    }
}
