//! What the daemon tells the launcher of one run, as bytes. It must never hold a secret: it is not wiped.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::Errand;

/// Bytes of one order: arguments and input together.
const LONGEST: usize = 1 << 20;

/// One run of one program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) program: usize,
    pub(super) within: Duration,
    pub(super) output: usize,
    pub(super) arguments: Vec<OsString>,
    pub(super) input: Vec<u8>,
}

impl Order {
    pub(super) fn of(program: usize, errand: Errand<'_>) -> Self {
        let Errand { arguments, input, within, output } = errand;
        let arguments = arguments.iter().map(OsString::from).collect();
        Self { program, within, output, arguments, input: input.to_vec() }
    }

    /// Numbers of 8 bytes; before each text its length, and before all the length of the rest.
    ///
    /// # Errors
    /// How long it would be, when that is more than may be.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, usize> {
        let numbers = [self.program as u64, self.within.as_millis() as u64, self.output as u64];
        let texts = self.arguments.iter().map(|text| text.as_encoded_bytes()).chain([&self.input[..]]);
        let mut rest: Vec<u8> = numbers.into_iter().flat_map(u64::to_ne_bytes).collect();
        for text in texts {
            rest.extend((text.len() as u64).to_ne_bytes());
            rest.extend(text);
        }
        match rest.len() {
            len @ ..=LONGEST => Ok([&(len as u64).to_ne_bytes()[..], &rest].concat()),
            len => Err(len),
        }
    }

    /// Reads one that [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// It is none, or the line broke off.
    pub(super) fn read(mut line: impl Read) -> io::Result<Self> {
        let len = number(&mut line)?;
        if len > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut rest = vec![0; len];
        line.read_exact(&mut rest)?;
        let mut rest = &rest[..];
        let (program, within, output) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
        let mut texts = Vec::new();
        while !rest.is_empty() {
            let len = number(&mut rest)?;
            texts.push(rest.split_off(..len).ok_or(io::ErrorKind::InvalidData)?.to_vec());
        }
        let input = texts.pop().ok_or(io::ErrorKind::InvalidData)?;
        let arguments = texts.into_iter().map(OsString::from_vec).collect();
        Ok(Self { program, within: Duration::from_millis(within as u64), output, arguments, input })
    }
}

fn number(mut from: impl Read) -> io::Result<usize> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    usize::try_from(u64::from_ne_bytes(bytes)).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        let (arguments, within) = (["", "-x", "two words"], Duration::from_millis(1500));
        let order = Order::of(7, Errand { arguments: &arguments, input: b"\0in", within, output: 9 });
        let bytes = order.to_bytes().unwrap();
        assert_eq!(Order::read(&bytes[..]).unwrap(), order);
        for cut in 0..bytes.len() {
            assert!(Order::read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut lies = bytes.clone();
        lies[32..40].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert!(Order::read(&lies[..]).is_err());
        let long = vec![0; LONGEST];
        assert!(Order::of(0, Errand { arguments: &[], input: &long, within, output: 0 }).to_bytes().is_err());
    }
}
