//! What a process has used, as Linux's /proc has it.

use std::fs;

/// Clock ticks in a second: the unit of `/proc/PID/stat`, and 100 on every Linux that we run on.
const TICKS: f64 = 100.0;

/// Seconds of processor time that a process has used so far.
pub(crate) fn cpu_secs(pid: u32) -> f64 {
    fields(pid).map_or(0.0, |fields| (fields[11] + fields[12]) / TICKS)
}

/// Seconds of processor time that children of ours used which have ended and were waited for.
pub(crate) fn children_cpu_secs() -> f64 {
    fields(std::process::id()).map_or(0.0, |fields| (fields[13] + fields[14]) / TICKS)
}

/// The most memory that a process has had at once, in MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// Seconds of processor time of every process whose command line or environment holds `text`, and of
/// their children.
pub(crate) fn cpu_secs_of(text: &str) -> f64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pids: Vec<_> = pids.filter(|pid| *pid != std::process::id()).collect();
    let roots: Vec<_> = pids
        .iter()
        .filter(|pid| {
            ["cmdline", "environ"].iter().any(|file| {
                let content = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&content).contains(text)
            })
        })
        .collect();
    let is_part = |pid: &&u32| {
        let parent = fields(**pid).map_or(0, |fields| fields[1] as u32);
        roots.contains(pid) || roots.contains(&&parent)
    };
    pids.iter().filter(is_part).map(|pid| cpu_secs(*pid)).sum()
}

/// The fields of `/proc/PID/stat` behind the program's name, the state first; fields that are no number are 0.
fn fields(pid: u32) -> Option<Vec<f64>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect();
    (fields.len() > 15).then_some(fields)
}
