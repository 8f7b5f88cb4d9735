//! Places for a plugin's instances, made before they are needed.
//!
//! Owns the settings of wasmtime for plugins. Every plugin has a pool of its own, as large as its `limits.instances` and shaped
//! by what its component declares, so that no plugin can use up what others need, and one that is unloaded takes its pool
//! with it. Refuses to know what runs in them. What does not fit in any pool runs without one, slower and within the same
//! limits: a filter that worked yesterday is not to be refused for a matter of speed.
//!
//! # What it costs
//!
//! Address space: [`RESERVATION`] and a guard for each memory of each instance, and a stack. Memory: nothing before the first
//! call; then what is live, and for each place that was ever used at most [`KEEP`] octets of each memory and table, and
//! the depth of its stack. Those of a component of Python or Go are shared until they are written to.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, ResourcesRequired,
    component::Component,
};

use super::failure::{INSTANCES, TABLE_ELEMENTS};

/// Address space for one memory, octets, where `limits.memory` is not more.
const RESERVATION: u64 = 64 << 20;
/// Written pages of a dropped instance that are wiped in place, octets of each memory: the next one finds them without a
/// page fault. Beyond it they are given back.
const KEEP: usize = 512 << 10;
/// Octets of wasmtime's own for one instance; only a bound, not taken.
const BOOKKEEPING: usize = 64 << 20;

/// What compiled code depends on. The memory of one instance decides how much address space it is compiled for.
pub(super) fn settings(memory: usize) -> Config {
    let mut config = Config::new();
    config
        .memory_reservation((memory as u64).next_power_of_two().max(RESERVATION))
        .epoch_interruption(true)
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed);
    config
}

/// The same, with so many places for this component.
///
/// # Errors
/// wasmtime's, most often for want of address space.
pub(super) fn engine(component: &Component, memory: usize, places: u32) -> wasmtime::Result<Engine> {
    let fits = component.resources_required();
    let ResourcesRequired { num_memories, num_tables, .. } =
        fits.ok_or_else(|| wasmtime::Error::msg("it imports core modules"))?;
    let most = u32::try_from(INSTANCES).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(places.saturating_mul(most))
        .total_memories(places.saturating_mul(num_memories))
        .total_tables(places.saturating_mul(num_tables))
        .total_stacks(places)
        .max_core_instances_per_component(most)
        .max_core_instance_size(BOOKKEEPING)
        .max_component_instance_size(BOOKKEEPING)
        .max_memories_per_component(num_memories)
        .max_memories_per_module(num_memories)
        .max_memory_size(memory.next_multiple_of(1 << 16))
        .max_tables_per_component(num_tables)
        .max_tables_per_module(num_tables)
        .table_elements(TABLE_ELEMENTS)
        // Used places come first: there is no other component whose places would have to be spared.
        .max_unused_warm_slots(0);
    // Either alone gains nothing: without the scan the first octets are wiped whether or not they were written to.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(KEEP).table_keep_resident(KEEP);
    }
    let mut config = settings(memory);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}
