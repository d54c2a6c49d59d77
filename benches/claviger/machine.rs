//! What the machine says about itself: CPU times and memory, from /proc.

use std::fs;

use crate::Outcome;

/// Ticks of /proc a second; Linux has shown 100 to programs on every machine for decades.
const TICKS: f64 = 100.0;

/// CPU seconds of a process, user and system, all its threads.
pub fn cpu_of(process: u32) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name may hold anything; what follows its bracket doesn't.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let ticks = |index| fields.split(' ').nth(index).and_then(|field| field.parse::<f64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok((user + system) / TICKS),
        _ => Err(format!("/proc/{process}/stat can't be understood").into()),
    }
}

/// CPU seconds of everything on this machine.
pub fn cpu_of_all() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let first = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    match fields[..] {
        // The fourth and fifth are idle times.
        [user, nice, system, _, _, interrupts, soft_interrupts, ..] => {
            Ok((user + nice + system + interrupts + soft_interrupts) / TICKS)
        }
        _ => Err("/proc/stat can't be understood".into()),
    }
}

/// Bytes of memory that a process has.
pub fn resident_bytes(process: u32) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    let kilobytes: f64 = kilobytes.ok_or_else(|| format!("/proc/{process}/status has no VmRSS"))?;
    Ok(kilobytes * 1024.0)
}

/// What the processor calls itself.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} cores of {}", model.map_or("an unknown processor", |(_, name)| name))
}
