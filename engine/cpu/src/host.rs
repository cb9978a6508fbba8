//! How much memory this machine, or what bounds this process in it, has left.

use std::fs::read_to_string;
use std::path::Path;

/// Bytes that this process may still take without the system having to swap: what the kernel says is available, or
/// what its control groups leave where that is less. `None` where the system does not say.
pub fn available_memory() -> Option<u64> {
    let bounds = groups(&read_to_string("/proc/self/cgroup").unwrap_or_default());
    let left = bounds.iter().filter_map(|(folder, names)| left_in(Path::new(folder), names));
    left.chain(available(&read_to_string("/proc/meminfo").unwrap_or_default())).min()
}

/// `MemAvailable` of `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Files of a control group: its limit, what it uses, and its statistics.
type Names = [&'static str; 2];

/// The folders of the groups that `/proc/self/cgroup` names, each with those above it, because any of them may be
/// bounded (Linux, Documentation/admin-guide/cgroup-v2.rst "Memory", cgroup-v1/memory.rst).
fn groups(text: &str) -> Vec<(String, Names)> {
    let mut folders = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, names) = match controllers {
            "" => ("/sys/fs/cgroup", ["memory.max", "memory.current"]),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", ["memory.limit_in_bytes", "memory.usage_in_bytes"])
            }
            _ => continue,
        };
        let above = Path::new(path.trim_start_matches('/')).ancestors();
        folders.extend(above.map(|path| (format!("{root}/{}", path.display()), names)));
    }
    folders
}

/// What a group's limit leaves, its cache of files counted as free; `None` where it has no limit.
fn left_in(folder: &Path, [limit, used]: &Names) -> Option<u64> {
    let number = |name: &str| read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let statistics = read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let inactive = |name: &str| statistics.lines().find_map(|line| line.strip_prefix(name));
    let cache = inactive("total_inactive_file ").or_else(|| inactive("inactive_file "));
    let cache = cache.and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or(0);
    Some(number(limit)?.saturating_sub(number(used)?.saturating_sub(cache)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_figure_is_read_in_bytes() {
        let text = "MemTotal:       24684092 kB\nMemFree:        1 kB\nMemAvailable:   22135892 kB\n";
        assert_eq!(available(text), Some(22_135_892 * 1024));
        assert_eq!(available("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn a_group_and_all_above_it_bound_the_process() {
        let text = "12:cpu,cpuacct:/a\n5:memory:/jobs/7\n0::/user.slice/job\n";
        let folders: Vec<String> = groups(text).into_iter().map(|(folder, _)| folder).collect();
        assert_eq!(
            folders,
            [
                "/sys/fs/cgroup/memory/jobs/7",
                "/sys/fs/cgroup/memory/jobs",
                "/sys/fs/cgroup/memory/",
                "/sys/fs/cgroup/user.slice/job",
                "/sys/fs/cgroup/user.slice",
                "/sys/fs/cgroup/",
            ]
        );
        assert!(groups("what\n\n1:name=systemd:/\n").is_empty());
    }

    #[test]
    fn what_a_group_uses_counts_without_its_cache_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        let names = ["memory.max", "memory.current"];
        assert_eq!(left_in(folder.path(), &names), None);
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(left_in(folder.path(), &names), None, "no limit");
        write("memory.max", "1000\n");
        assert_eq!(left_in(folder.path(), &names), Some(300));
        write("memory.stat", "anon 400\ninactive_file 250\n");
        assert_eq!(left_in(folder.path(), &names), Some(550));
    }
}
