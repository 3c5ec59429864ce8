//! The texts of /proc, proc(5): pure. A process may call itself what it likes: nothing here trusts a name.

/// Field `number` (from 1) of /proc/PID/stat. The name in field 2 may hold `)` and spaces: count from its last `)`.
pub fn stat_field<T: std::str::FromStr>(text: &str, number: usize) -> Option<T> {
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// What follows `name` on its line of /proc/PID/status.
pub fn status<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The four user ids of /proc/PID/status: real, effective, saved, of the file system.
pub fn uids(text: &str) -> Option<[u32; 4]> {
    four(status(text, "Uid:")?)
}

/// The same of groups.
pub fn gids(text: &str) -> Option<[u32; 4]> {
    four(status(text, "Gid:")?)
}

fn four(ids: &str) -> Option<[u32; 4]> {
    let ids: Vec<u32> = ids.split_ascii_whitespace().flat_map(str::parse).collect();
    ids.try_into().ok()
}

/// The path in the one hierarchy of /proc/PID/cgroup, cgroups(7).
pub fn cgroup(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| path.starts_with('/'))
}
