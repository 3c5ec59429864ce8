//! Where secrets come in: stdin when it is a pipe or a file, a prompt without echo when it is a terminal; and the
//! body that carries them on. It must never take one from argv or the environment, nor hold it in a buffer that grows.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::secret::Secret;
use crate::sys::file::{self, FileError};

/// No key and no passphrase is longer, in bytes; a service account's JSON is a few thousand.
const MAX: usize = 64 * 1024;
const HOW: &str =
    "pipe it in (`printf %s \"$KEY\" | sixty …`, or `sixty … < FILE`), or run this in a terminal to be asked";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Takes one secret in: from stdin, or by asking for it with `prompt` when stdin is a terminal.
///
/// # Errors
/// [`Failure::Input`]: nothing came, too much, or it can't be read.
pub(super) fn secret(prompt: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() { ask(prompt) } else { from(stdin.as_fd()) }
}

/// Takes a passphrase that is new: whoever types it must type it twice.
///
/// # Errors
/// As [`secret`]; or the two differ.
pub(super) fn new_passphrase() -> Result<Secret, Failure> {
    let first = secret("new passphrase: ")?;
    if std::io::stdin().is_terminal() && *secret("the same again: ")? != *first {
        return Err(Failure::Input { what: "the two differ".into(), advice: "nothing was made; try again" });
    }
    Ok(Secret::copied(&first))
}

/// A JSON object of `plain` and one more member `name`, whose value is `secret`, escaped as RFC 8259 wants it.
/// One allocation of the exact size; no copy of the secret anywhere else.
///
/// # Errors
/// [`Failure::Input`] when the secret is not UTF-8: it could not be written as JSON.
pub(super) fn body(plain: &Map<String, Value>, name: &str, secret: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if std::str::from_utf8(secret).is_err() {
        return Err(input("the secret is not text (UTF-8)"));
    }
    let mut head = Value::Object(plain.clone()).to_string();
    head.pop();
    head.push_str(if plain.is_empty() { "\"" } else { ",\"" });
    head.push_str(name);
    head.push_str("\":\"");
    let len = head.len() + secret.iter().map(|&byte| escaped_len(byte)).sum::<usize>() + 2;
    let mut body = Zeroizing::new(Vec::with_capacity(len));
    body.extend_from_slice(head.as_bytes());
    secret.iter().for_each(|&byte| escape(byte, &mut body));
    body.extend_from_slice(b"\"}");
    Ok(body)
}

fn ask(prompt: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let typed = rpassword::prompt_password(prompt).map_err(|fault| input(format!("nothing was typed: {fault}")))?;
    checked(Zeroizing::new(typed.into_bytes()))
}

fn from(fd: BorrowedFd<'_>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut read = file::read_from(fd, "stdin", MAX).map_err(|fault| match fault {
        FileError::TooLarge { .. } => input(format!("stdin has more than {MAX} bytes; that is no key")),
        fault => input(fault.to_string()),
    })?;
    let line = read.strip_suffix(b"\n").unwrap_or(&read);
    let len = line.strip_suffix(b"\r").unwrap_or(line).len();
    read.truncate(len);
    checked(read)
}

fn checked(secret: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if secret.is_empty() { Err(input("no secret was given: stdin or the prompt was left empty")) } else { Ok(secret) }
}

fn input(what: impl Into<String>) -> Failure {
    Failure::Input { what: what.into(), advice: HOW }
}

fn escaped_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

fn escape(byte: u8, body: &mut Vec<u8>) {
    match byte {
        b'"' | b'\\' => body.extend([b'\\', byte]),
        0..0x20 => {
            body.extend_from_slice(b"\\u00");
            body.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        _ => body.push(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn piped(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let bytes = bytes.to_vec();
        let feeder = std::thread::spawn(move || writer.write_all(&bytes).is_ok());
        let read = from(reader.as_fd());
        drop(reader);
        feeder.join().unwrap();
        read
    }

    #[test]
    fn one_line_end_is_not_part_of_a_key_and_a_second_one_is() {
        for (came, want) in [("k", "k"), ("k\n", "k"), ("k\r\n", "k"), ("k\n\n", "k\n"), (" k \n", " k ")] {
            assert_eq!(&*piped(came.as_bytes()).unwrap(), want.as_bytes(), "{came:?}");
        }
    }

    #[test]
    fn nothing_and_too_much_are_refused_without_a_quote() {
        assert!(piped(b"").is_err());
        assert!(piped(b"\n").is_err());
        let said = piped(&vec![b'Q'; MAX + 1]).unwrap_err().to_string();
        assert!(!said.contains('Q'), "{said}");
        assert!(piped(&vec![b'Q'; MAX]).is_ok());
    }

    #[test]
    fn odd_bytes_come_through_json_as_they_were() {
        let odd: String = (0..0x250_u32).filter_map(char::from_u32).chain("\"\\\u{2028}😀".chars()).collect();
        let plain = Map::from_iter([("provider".to_owned(), Value::from("a\"b"))]);
        let body = body(&plain, "secret", odd.as_bytes()).unwrap();
        let back: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(back["secret"], Value::from(odd));
        assert_eq!(back["provider"], "a\"b");
    }

    #[test]
    fn the_body_never_grows_so_that_no_half_of_it_is_left_behind() {
        for secret in ["", "sk-1", "\u{1}\"\\é"] {
            let body = body(&Map::new(), "passphrase", secret.as_bytes()).unwrap();
            assert_eq!(body.len(), body.capacity(), "{secret:?}");
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["passphrase"], secret);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert!(body(&Map::new(), "secret", &[0xff, 0xfe]).is_err());
    }
}
