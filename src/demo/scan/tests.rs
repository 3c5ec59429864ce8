//! Positive controls: what is planted is found, what is too short is not, and nothing is shown.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// A process that holds what it was given, until it is dropped.
struct Holder(Child);

impl Holder {
    /// Runs this test binary again, as [`holds_what_it_was_given`].
    fn of(plants: &[&[u8]]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "demo::scan::tests::holds_what_it_was_given", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&plants.join(&b'\n')).unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("holding")), "the child did not begin to hold");
        Self(child)
    }

    fn scan(&self, needles: &[Needle], options: ScanOptions) -> Report {
        scan(self.0.id(), needles, options).unwrap()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "not a test: the process that the others scan"]
fn holds_what_it_was_given() {
    let mut held = Vec::with_capacity(1 << 20);
    File::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).read_to_end(&mut held).unwrap();
    println!("holding");
    std::thread::sleep(Duration::from_secs(60));
    assert!(!held.is_empty());
}

/// A random secret of 40 printable bytes.
fn secret() -> Vec<u8> {
    let mut bytes = [0; 30];
    getrandom::fill(&mut bytes).unwrap();
    STANDARD.encode(bytes).into_bytes()
}

fn needle(secret: &[u8]) -> [Needle; 1] {
    [Needle::new("planted", secret)]
}

fn search(bytes: &[u8], secret: &[u8], options: ScanOptions) -> Report {
    let path = std::env::temp_dir().join(format!("sixty-scan-{}-{}", std::process::id(), hex(&secret[..6])));
    std::fs::write(&path, bytes).unwrap();
    let report = scan_file(&path, &needle(secret), options);
    std::fs::remove_file(path).unwrap();
    report.unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_planted_secret_is_found_whole_in_part_and_encoded_but_seven_bytes_are_noise() {
    let [whole, part, encoded, short, absent] = [(); 5].map(|()| secret());
    let base64 = STANDARD.encode([b"x", &encoded[..]].concat());
    let holder = Holder::of(&[&whole, &part[7..27], base64.as_bytes(), &short[3..10]]);
    let named = [("whole", &whole), ("part", &part), ("encoded", &encoded), ("short", &short), ("absent", &absent)];
    let needles = named.map(|(name, secret)| Needle::new(name, secret));
    let report = holder.scan(&needles, ScanOptions::default());
    let found = |name: &str, form: Form, length: usize, whole: bool| {
        let same = |hit: &Hit| (hit.needle.as_str(), hit.form, hit.length, hit.whole) == (name, form, length, whole);
        report.hits.iter().any(same)
    };
    assert!(found("whole", Form::Raw, 40, true), "{report}");
    assert!(found("part", Form::Raw, 20, false), "{report}");
    assert!(report.hits.iter().any(|hit| hit.needle == "encoded" && matches!(hit.form, Form::Base64(2))), "{report}");
    assert!(!report.hits.iter().any(|hit| hit.needle == "short" || hit.needle == "absent"), "{report}");
    assert_eq!(report.verdict(), Verdict::Found);
    assert!(report.threads >= 1 && report.mappings > 10 && report.bytes > 1 << 20, "{report}");
}

#[test]
fn a_clean_process_gives_a_clean_report_held_or_running() {
    let holder = Holder::of(&[b"nothing of interest"]);
    for motion in [Motion::Running, Motion::Held] {
        let report = holder.scan(&needle(&secret()), ScanOptions { motion, ..ScanOptions::default() });
        assert_eq!(report.verdict(), Verdict::Clean, "{report}");
    }
}

#[test]
fn a_report_does_not_show_what_was_looked_for() {
    let planted = secret();
    let holder = Holder::of(&[&planted]);
    let report = holder.scan(&needle(&planted), ScanOptions::default());
    let text = format!("{report} {report:?}");
    assert_eq!(report.verdict(), Verdict::Found);
    assert!(!planted.windows(6).any(|part| text.contains(std::str::from_utf8(part).unwrap())), "the report leaks");
}

#[test]
fn a_copy_across_two_pieces_is_found_once_and_whole() {
    let planted = secret();
    for ahead in [0, 1, 13, 39, 40] {
        let mut bytes = vec![0; 3 * PIECE];
        bytes[PIECE - ahead..PIECE - ahead + 40].copy_from_slice(&planted);
        let report = search(&bytes, &planted, ScanOptions::default());
        let [hit] = &report.hits[..] else { panic!("{report}") };
        assert!(hit.whole && hit.place == Place::File { offset: (PIECE - ahead) as u64 }, "{report}");
    }
}

#[test]
fn a_part_of_exactly_the_shortest_length_is_found_wherever_it_lies() {
    let planted = secret();
    for sub in [4, 5, 7, 8, 9, 16, 33, 40] {
        let options = ScanOptions { sub, forms: Forms::Raw, ..ScanOptions::default() };
        for at in 0..20 {
            let from = at.min(planted.len() - sub);
            let mut bytes = vec![0; 100];
            bytes[at..at + sub].copy_from_slice(&planted[from..from + sub]);
            let report = search(&bytes, &planted, options);
            assert!(matches!(&report.hits[..], [hit] if hit.length == sub && hit.from == from), "{sub} {at}: {report}");
            bytes[at] ^= 1;
            assert!(search(&bytes, &planted, options).hits.is_empty(), "{sub} {at}");
        }
    }
}

#[test]
fn every_form_is_found() {
    let planted = secret();
    let forms: Vec<(Form, Vec<u8>)> = vec![
        (Form::Hex, hex(&planted).into_bytes()),
        (Form::HexCapitals, hex(&planted).to_uppercase().into_bytes()),
        (Form::Base64(0), STANDARD.encode(&planted).into_bytes()),
        (Form::Base64(2), STANDARD.encode([b"1", &planted[..]].concat()).into_bytes()),
        (Form::Base64(1), STANDARD.encode([b"12", &planted[..]].concat()).into_bytes()),
        (Form::Utf16, planted.iter().flat_map(|&byte| [byte, 0]).collect()),
        (Form::Percent, planted.iter().flat_map(|byte| format!("%{byte:02X}").into_bytes()).collect()),
        (Form::PercentSmall, planted.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect()),
        (Form::Reversed, planted.iter().rev().copied().collect()),
        (Form::Inverted, planted.iter().map(|byte| !byte).collect()),
        (Form::Huffman(0), huffman::code(&planted, 0).to_vec()),
    ];
    for (form, bytes) in forms {
        let report = search(&bytes, &planted, ScanOptions::default());
        assert!(report.hits.iter().any(|hit| hit.form == form && hit.whole), "{form}: {report}");
        let raw = ScanOptions { forms: Forms::Raw, ..ScanOptions::default() };
        assert!(search(&bytes, &planted, raw).hits.is_empty(), "{form} was taken for raw");
    }
}

#[test]
fn senseless_orders_are_refused_in_words() {
    let (own, short) = (std::process::id(), ScanOptions { sub: 3, ..ScanOptions::default() });
    let refused = |pid, secret: &[u8], options| scan(pid, &needle(secret), options).unwrap_err();
    assert!(matches!(refused(own, &secret(), ScanOptions::default()), ScanError::Itself));
    assert!(matches!(refused(1, &secret(), short), ScanError::Sub(3)));
    assert!(matches!(refused(1, b"seven77", ScanOptions::default()), ScanError::Needle { length: 7, .. }));
    assert!(matches!(refused(u32::MAX >> 1, &secret(), ScanOptions::default()), ScanError::Gone { .. }));
}

#[test]
fn a_process_that_has_ended_is_not_called_clean() {
    let mut child = Command::new("true").spawn().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let result = scan(child.id(), &needle(&secret()), ScanOptions::default());
    assert!(matches!(result, Err(ScanError::Gone { .. } | ScanError::Refused { .. })), "{result:?}");
    child.wait().unwrap();
}
