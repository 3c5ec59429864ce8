//! From a cgroup path to the systemd unit that runs there: systemd's cgroup layout, systemd.unit(5).
//! A user's own unit never reads like a system unit: it is written `user@UID/NAME`.

/// The unit of a cgroup path: `ci.service`, or `user@1000/job.scope` below a user manager. None when there is none.
pub(super) fn of(cgroup: &str) -> Option<String> {
    if cgroup.split('/').any(|part| part == "..") {
        return None;
    }
    let mut parts = below_slices(cgroup.split('/').filter(|part| !part.is_empty()).peekable());
    let unit = parts.next().and_then(unit_name)?;
    let Some(user) = unit.strip_prefix("user@").and_then(|rest| rest.strip_suffix(".service")) else {
        return Some(unit.to_owned());
    };
    match below_slices(parts).next().and_then(unit_name) {
        Some(inner) => Some(format!("user@{user}/{inner}")),
        None => Some(unit.to_owned()),
    }
}

type Parts<'a, I> = std::iter::Peekable<I>;

fn below_slices<'a, I: Iterator<Item = &'a str>>(mut parts: Parts<'a, I>) -> Parts<'a, I> {
    while parts.next_if(|part| part.ends_with(".slice")).is_some() {}
    parts
}

/// systemd puts an underscore before names that would be taken for the kernel's own files.
fn unit_name(part: &str) -> Option<&str> {
    let part = part.strip_prefix('_').unwrap_or(part);
    let kinds = [".service", ".scope", ".socket", ".mount", ".swap"];
    kinds.iter().any(|kind| part.len() > kind.len() && part.ends_with(kind)).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_users_unit_never_reads_like_the_systems() {
        assert_eq!(of("/system.slice/ci.service").as_deref(), Some("ci.service"));
        assert_eq!(of("/system.slice/ci.service/user@0.service/x").as_deref(), Some("ci.service"));
        let user = "/user.slice/user-1000.slice/user@1000.service";
        assert_eq!(of(&format!("{user}/app.slice/ci.service")).as_deref(), Some("user@1000/ci.service"));
        assert_eq!(of(&format!("{user}/app.slice/app-x.slice/a.scope/sub")).as_deref(), Some("user@1000/a.scope"));
        assert_eq!(of(&format!("{user}/init.scope")).as_deref(), Some("user@1000/init.scope"));
        assert_eq!(of(user).as_deref(), Some("user@1000.service"));
        assert_eq!(of("/user.slice/user-1000.slice/session-3.scope").as_deref(), Some("session-3.scope"));
        assert_eq!(of("/init.scope").as_deref(), Some("init.scope"));
    }

    #[test]
    fn what_is_no_unit_is_absent() {
        for path in ["/", "", "/docker/abc", "/../x.service", "/system.slice", "/a/ci.service"] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
