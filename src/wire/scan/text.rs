//! A JSON text, a byte at a time: escapes resolved, UTF-8 checked, the first bytes kept. It never keeps more.

/// The longest text that is kept, in bytes; names of models are shorter.
const KEPT: usize = 512;

/// A text, or a number, so far.
#[derive(Debug, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
    length: usize,
    unwanted: bool,
    escape: Escape,
    utf8: Utf8,
    /// The first half of a pair of `\u` escapes.
    high: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Escape {
    #[default]
    None,
    Begun,
    Hex(u32, u8),
}

/// Bytes that must follow, and where the next one must lie.
#[derive(Debug, Clone, Copy, Default)]
struct Utf8 {
    left: u8,
    low: u8,
    high: u8,
}

impl Text {
    /// Begins anew; of an unwanted text nothing is kept.
    pub(super) fn clear(&mut self, unwanted: bool) {
        self.bytes.clear();
        (self.length, self.unwanted, self.escape, self.high) = (0, unwanted, Escape::None, None);
        self.utf8 = Utf8::default();
    }

    /// The whole of it; none when it is too long or unwanted.
    pub(super) fn get(&self) -> Option<&str> {
        let whole = self.length == self.bytes.len() && !self.unwanted;
        std::str::from_utf8(&self.bytes).ok().filter(|_| whole)
    }

    /// Bytes it has, escapes resolved.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        if !self.unwanted {
            let room = KEPT.saturating_sub(self.bytes.len()).min(bytes.len());
            self.bytes.extend_from_slice(&bytes[..room]);
        }
    }

    /// Takes all bytes up to the first that means something; how many.
    pub(super) fn run(&mut self, bytes: &[u8]) -> usize {
        if self.escape != Escape::None || self.utf8.left > 0 || self.high.is_some() {
            return 0;
        }
        let plain = |byte: &u8| matches!(byte, 0x20..0x80) && *byte != b'"' && *byte != b'\\';
        let run = bytes.iter().position(|byte| !plain(byte)).unwrap_or(bytes.len());
        self.keep(&bytes[..run]);
        run
    }

    /// Takes one byte; whether it was the closing quotation mark. None: it is not allowed here.
    /// Half a pair of escapes is replaced, as many readers do, but in a strict text not allowed.
    pub(super) fn take(&mut self, byte: u8, strict: bool) -> Option<bool> {
        match self.escape {
            Escape::Begun => self.escaped(byte, strict)?,
            Escape::Hex(value, left) => self.hex(value << 4 | char::from(byte).to_digit(16)?, left - 1, strict)?,
            Escape::None if self.utf8.left > 0 => self.continued(byte)?,
            Escape::None if byte == b'\\' => self.escape = Escape::Begun,
            Escape::None => {
                self.lone(strict)?;
                match byte {
                    b'"' => return Some(true),
                    0..0x20 => return None,
                    0x20..0x80 => self.keep(&[byte]),
                    _ => self.led(byte)?,
                }
            }
        }
        Some(false)
    }

    fn escaped(&mut self, byte: u8, strict: bool) -> Option<()> {
        self.escape = Escape::None;
        let letter = match byte {
            b'u' => {
                self.escape = Escape::Hex(0, 4);
                return Some(());
            }
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return None,
        };
        self.lone(strict)?;
        self.keep(&[letter]);
        Some(())
    }

    fn hex(&mut self, value: u32, left: u8, strict: bool) -> Option<()> {
        self.escape = if left == 0 { Escape::None } else { Escape::Hex(value, left) };
        if left > 0 {
            return Some(());
        }
        match (self.high, value) {
            (Some(high), 0xDC00..0xE000) => {
                self.high = None;
                self.letter(0x10000 + ((high - 0xD800) << 10) + (value - 0xDC00));
            }
            (_, 0xD800..0xDC00) => {
                self.lone(strict)?;
                self.high = Some(value);
            }
            (_, _) => {
                self.lone(strict)?;
                char::from_u32(value).is_some().then_some(()).or((!strict).then_some(()))?;
                self.letter(value);
            }
        }
        Some(())
    }

    /// Half a pair that the other half does not follow.
    fn lone(&mut self, strict: bool) -> Option<()> {
        if self.high.take().is_some() {
            if strict {
                return None;
            }
            self.letter(0xFFFD);
        }
        Some(())
    }

    fn letter(&mut self, value: u32) {
        let letter = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.keep(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// The first of several bytes of a letter (RFC 3629, section 4).
    fn led(&mut self, byte: u8) -> Option<()> {
        let (left, low, high) = match byte {
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return None,
        };
        self.utf8 = Utf8 { left, low, high };
        self.keep(&[byte]);
        Some(())
    }

    fn continued(&mut self, byte: u8) -> Option<()> {
        (self.utf8.low..=self.utf8.high).contains(&byte).then_some(())?;
        self.utf8 = Utf8 { left: self.utf8.left - 1, low: 0x80, high: 0xBF };
        self.keep(&[byte]);
        Some(())
    }
}
