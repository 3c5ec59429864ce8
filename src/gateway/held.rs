//! The last bytes of a stream, while they may be the first of a key. It never holds more of them than a key has.

use hyper::body::Bytes;

/// What is held back.
#[derive(Default)]
pub(super) struct Held(Vec<u8>);

impl Held {
    /// What may go on when a piece has come and the stream's last `hold` bytes may not yet. None: nothing.
    pub(super) fn pass(&mut self, piece: Bytes, hold: usize) -> Option<Bytes> {
        let bytes = if hold == 0 && self.0.is_empty() {
            piece
        } else {
            let mut all = std::mem::take(&mut self.0);
            all.extend_from_slice(&piece);
            self.0 = all.split_off(all.len().saturating_sub(hold));
            all.into()
        };
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    /// The stream has ended: what was held was no key.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
