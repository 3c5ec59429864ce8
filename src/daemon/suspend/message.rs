//! D-Bus messages as bytes, as far as logind is spoken to: calls with texts, and what comes back.
//! Source: dbus.freedesktop.org/doc/dbus-specification.html. It must never believe a length before it is within bounds.

use std::os::fd::OwnedFd;

/// Bytes of a message that is read; the bus itself allows 128 MiB to anybody.
pub(super) const LONGEST: usize = 64 * 1024;
/// Bytes of the part that every message begins with.
pub(super) const FIXED: usize = 16;

/// A message that means: an answer, a no, something that happened.
pub(super) const REPLY: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;
const CALL: u8 = 1;
/// Nobody is started to answer it.
const NO_AUTO_START: u8 = 2;
const NATIVE: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };

/// Numbers of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;
const UNIX_FDS: u8 = 9;

/// Whom a call is for.
#[derive(Clone, Copy)]
pub(super) struct Callee {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
}

/// How a message's sender writes numbers: each as it likes, and the bus passes them on so.
#[derive(Debug, Clone, Copy, Default)]
enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    fn of(letter: u8) -> Option<Self> {
        match letter {
            b'l' => Some(Self::Little),
            b'B' => Some(Self::Big),
            _ => None,
        }
    }

    fn number(self, bytes: &[u8]) -> Option<u32> {
        let four = *bytes.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(four),
            Self::Big => u32::from_be_bytes(four),
        })
    }
}

/// What was read of a message.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) answers: u32,
    pub(super) sender: String,
    pub(super) interface: String,
    pub(super) member: String,
    pub(super) body: Vec<u8>,
    order: Order,
    /// How many descriptors came with it, and they.
    pub(super) count: u32,
    pub(super) passed: Vec<OwnedFd>,
}

/// A call with texts.
pub(super) fn call(serial: u32, to: Callee, member: &str, arguments: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    arguments.iter().for_each(|text| put_text(&mut body, text));
    let mut message = vec![NATIVE, CALL, NO_AUTO_START, 1];
    message.extend((body.len() as u32).to_ne_bytes());
    message.extend(serial.to_ne_bytes());
    message.extend([0; 4]);
    let fields =
        [(PATH, "o", to.path), (INTERFACE, "s", to.interface), (MEMBER, "s", member), (DESTINATION, "s", to.name)];
    for (number, kind, text) in fields {
        align(&mut message, 8);
        message.push(number);
        put_signature(&mut message, kind);
        put_text(&mut message, text);
    }
    if !arguments.is_empty() {
        align(&mut message, 8);
        message.push(SIGNATURE);
        put_signature(&mut message, "g");
        put_signature(&mut message, &"s".repeat(arguments.len()));
    }
    let fields = (message.len() - FIXED) as u32;
    message[12..FIXED].copy_from_slice(&fields.to_ne_bytes());
    align(&mut message, 8);
    message.extend(body);
    message
}

/// Bytes of the message that begins so; none: it is none.
pub(super) fn length(fixed: &[u8; FIXED]) -> Option<usize> {
    let order = Order::of(fixed[0])?;
    let number = |at: usize| Some(order.number(&fixed[at..])? as usize);
    let whole = (FIXED + number(12)?).next_multiple_of(8).checked_add(number(4)?)?;
    (fixed[3] == 1).then_some(whole)
}

/// Reads a whole message. None: it is none, or has fields of a kind that nobody here knows.
pub(super) fn read(bytes: &[u8]) -> Option<Message> {
    let order = Order::of(*bytes.first()?)?;
    let mut message = Message { kind: *bytes.get(1)?, order, ..Message::default() };
    let fields = FIXED + order.number(bytes.get(12..)?)? as usize;
    let mut reader = Reader { bytes: bytes.get(..fields)?, at: FIXED, order };
    while reader.at < fields {
        reader.align(8)?;
        let (field, kind) = (reader.byte()?, reader.signature()?.to_owned());
        match (field, kind.as_str()) {
            (_, "s" | "o") => {
                let text = reader.text()?;
                match field {
                    SENDER => text.clone_into(&mut message.sender),
                    INTERFACE => text.clone_into(&mut message.interface),
                    MEMBER => text.clone_into(&mut message.member),
                    _ => {}
                }
            }
            (_, "g") => drop(reader.signature()?),
            (_, "u") => match (field, reader.number()?) {
                (REPLY_SERIAL, number) => message.answers = number,
                (UNIX_FDS, number) => message.count = number,
                _ => {}
            },
            _ => return None,
        }
    }
    message.body = bytes.get(fields.next_multiple_of(8)..)?.to_vec();
    Some(message)
}

/// Reads what may be no message.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    let _ = bytes.first_chunk().and_then(length);
    if let Some(message) = read(bytes) {
        let _ = (message.flag(), message.texts());
    }
}

impl Message {
    /// A body that is one truth value.
    pub(super) fn flag(&self) -> Option<bool> {
        let number = self.order.number(&self.body)?;
        (self.body.len() == 4 && number < 2).then_some(number == 1)
    }

    /// The texts that a body begins with, three at most.
    pub(super) fn texts(&self) -> Vec<&str> {
        let mut reader = Reader { bytes: &self.body, at: 0, order: self.order };
        std::iter::from_fn(|| reader.text()).take(3).collect()
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    order: Order,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.next_multiple_of(to);
        (self.at <= self.bytes.len()).then_some(())
    }

    fn some(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let some = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(some)
    }

    fn byte(&mut self) -> Option<u8> {
        self.some(1).map(|one| one[0])
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4)?;
        self.order.number(self.some(4)?)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let len = self.byte()?;
        self.ended(len.into())
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.number()?;
        self.ended(len as usize)
    }

    /// Letters with a zero behind.
    fn ended(&mut self, len: usize) -> Option<&'a str> {
        let text = std::str::from_utf8(self.some(len)?).ok()?;
        (self.byte()? == 0).then_some(text)
    }
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    align(bytes, 4);
    bytes.extend((text.len() as u32).to_ne_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn put_signature(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(text.len() as u8);
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TO: Callee = Callee { name: "org.x", path: "/org/x", interface: "org.x.Y" };

    #[test]
    fn a_call_reads_back_and_no_part_of_it_does() {
        for arguments in [&[][..], &["a"], &["one", "", "three"]] {
            let bytes = call(7, TO, "Do", arguments);
            assert_eq!(length(bytes.first_chunk().unwrap()), Some(bytes.len()));
            let message = read(&bytes).unwrap();
            assert_eq!((message.kind, message.interface.as_str(), message.member.as_str()), (CALL, "org.x.Y", "Do"));
            assert_eq!(message.texts(), arguments);
            let fields = FIXED + u32::from_ne_bytes(*bytes[12..].first_chunk().unwrap()) as usize;
            for cut in 0..fields {
                assert!(read(&bytes[..cut]).is_none(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_length_that_lies_is_no_length() {
        let good = call(1, TO, "Do", &[]);
        let mut fixed: [u8; FIXED] = *good.first_chunk().unwrap();
        fixed[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(length(&fixed).is_some_and(|len| len > LONGEST), "too long is skipped, not read");
        fixed[0] = b'?';
        assert_eq!(length(&fixed), None);
        let mut lies = good.clone();
        lies[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(read(&lies).is_none());
        let mut lies = good;
        lies[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(read(&lies).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = call(1, TO, "Do", &["one", "two"]);
            bytes[at.index(FIXED)] = byte;
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = bytes.first_chunk().and_then(length);
            if let Some(message) = read(&bytes) {
                let _ = (message.flag(), message.texts());
            }
        }
    }

    #[test]
    fn a_flag_is_one_truth_value_and_nothing_else() {
        let of = |order, body: &[u8]| Message { order, body: body.to_vec(), ..Message::default() }.flag();
        let little = |body| of(Order::Little, body);
        assert_eq!(
            (little(&[1, 0, 0, 0]), little(&[0; 4]), of(Order::Big, &[0, 0, 0, 1])),
            (Some(true), Some(false), Some(true))
        );
        assert_eq!((little(&[2, 0, 0, 0]), little(&[]), little(&[0; 8])), (None, None, None));
    }
}
