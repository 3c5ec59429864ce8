//! nginx as people put it before an API: it sets the key's header, keeps connections to the provider, and logs. Started
//! anew with a config of its own, in one process, so that its CPU is one process's.

use crate::{Done, house::KEY, proc::Guarded, provider::Provider};
use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// One that serves.
pub(crate) struct Nginx {
    process: Guarded,
    pub(crate) socket: PathBuf,
}

impl Nginx {
    /// Starts it in a directory; `/plain`, `/wide` and `/tls` lead to the provider, and events pass unbuffered.
    pub(crate) fn start(place: &Path, provider: &Provider) -> Done<Self> {
        let config = place.join("nginx.conf");
        std::fs::write(&config, text(place, provider))?;
        let mut command = Command::new("nginx");
        command.arg("-e").arg(place.join("nginx.log")).arg("-p").arg(place).arg("-c").arg(&config).stdin(Stdio::null());
        // Debian keeps it where only root's PATH leads.
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let process = Guarded::spawn(&mut command)
            .map_err(|fault| format!("no nginx to compare with ({fault}): apt-get install nginx-light"))?;
        let nginx = Self { process, socket: place.join("nginx.sock") };
        for _ in 0..200 {
            if UnixStream::connect(&nginx.socket).is_ok() {
                return Ok(nginx);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("nginx does not serve: {}", std::fs::read_to_string(place.join("nginx.log"))?).into())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// The buffers that make nginx fast with large bodies.
const WIDE: &str = "proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0; \
     client_body_buffer_size 64k;";

fn text(place: &Path, provider: &Provider) -> String {
    let at = place.display();
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let kept = "keepalive 128; keepalive_requests 1000000000; keepalive_timeout 600s;";
    let to = |scheme: &str| format!("proxy_pass {scheme}://{}/;", if scheme == "http" { "plain" } else { "tls" });
    let (plain, tls) = (to("http"), to("https"));
    format!(
        r#"
daemon off; master_process off; pid {at}/nginx.pid; worker_rlimit_nofile 8192; {user}
events {{ worker_connections 4096; }}
http {{
    access_log {at}/access.log;
    client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
    fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
    keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 0;
    upstream plain {{ server {}; {kept} }}
    upstream tls {{ server {}; {kept} }}
    proxy_http_version 1.1; proxy_request_buffering off; proxy_read_timeout 600s;
    proxy_set_header Connection ""; proxy_set_header Authorization "Bearer {KEY}";
    server {{
        listen unix:{at}/nginx.sock;
        location /plain/ {{ {plain} }}
        location /wide/ {{ {plain} {WIDE} }}
        location /tls/ {{ {tls} }}
        location /events/plain/ {{ {plain} proxy_buffering off; }}
        location /events/tls/ {{ {tls} proxy_buffering off; }}
    }}
}}
"#,
        provider.plain, provider.tls
    )
}
