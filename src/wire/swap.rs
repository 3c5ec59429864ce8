//! The layer below hyper that puts a secret where its placeholder stands, from a buffer that is wiped.
//! Hyper only ever sees random letters of equal length, so nothing of a secret stays in its buffers or lasts as long
//! as a kept-alive connection. It never searches a stream that nobody armed.

use crate::sys::chance;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use zeroize::Zeroizing;

/// Somebody who can put a secret into a place of exactly its length.
pub trait Lend: Send {
    /// Fills `place`; an error when the secret is gone or has another length by now.
    fn lend(&self, place: &mut [u8]) -> io::Result<()>;
}

impl Lend for crate::secret::Secret {
    fn lend(&self, place: &mut [u8]) -> io::Result<()> {
        self.expose(|bytes| {
            if bytes.len() != place.len() {
                return Err(io::Error::other("the secret is gone or has changed"));
            }
            place.copy_from_slice(bytes);
            Ok(())
        })
    }
}

/// What becomes of a swap: told once, when the last byte of the secret has gone to the socket.
pub trait Delivered: Send {
    /// The whole secret was written.
    fn delivered(self: Box<Self>);
}

/// Where the placeholder must stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// In the very next write, or that write fails: a request's head.
    InNextWrite,
    /// Anywhere later: an answer behind others that still wait to be read.
    Later,
}

/// One secret to put in, once.
pub struct Swap {
    placeholder: Vec<u8>,
    source: Box<dyn Lend>,
    expect: Expect,
    receipt: Option<Box<dyn Delivered>>,
    sent: usize,
}

impl Swap {
    /// A swap for a secret of `length` bytes; 16 at least, so that chance cannot make a second placeholder.
    pub fn new(length: usize, source: Box<dyn Lend>, expect: Expect) -> io::Result<Self> {
        if length < 16 {
            return Err(io::Error::other("a secret of less than 16 bytes has no safe placeholder"));
        }
        Ok(Self { placeholder: random_letters(length)?, source, expect, receipt: None, sent: 0 })
    }

    /// Tells `receipt` when the secret is out; if it never is, `receipt` is dropped.
    pub fn telling(mut self, receipt: Box<dyn Delivered>) -> Self {
        self.receipt = Some(receipt);
        self
    }

    /// What to write in the secret's place: letters and digits only.
    pub fn placeholder(&self) -> &str {
        std::str::from_utf8(&self.placeholder).unwrap_or_default()
    }
}

fn random_letters(length: usize) -> io::Result<Vec<u8>> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789AZ";
    let mut letters = vec![0; length];
    chance::fill(&mut letters).map_err(io::Error::other)?;
    letters.iter_mut().for_each(|byte| *byte = LETTERS[usize::from(*byte & 63)]);
    Ok(letters)
}

/// The armed swaps of one connection, oldest first; shared by whoever writes answers and the layer below.
#[derive(Clone, Default)]
pub struct Swaps(Arc<Mutex<VecDeque<Swap>>>);

impl Swaps {
    /// Arms one more.
    pub fn arm(&self, swap: Swap) {
        self.queue().push_back(swap);
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Swap>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream whose armed placeholders leave it as secrets.
pub struct SwapIo<T> {
    inner: T,
    swaps: Swaps,
}

impl<T> SwapIo<T> {
    /// Wraps a stream.
    pub fn new(inner: T, swaps: Swaps) -> Self {
        Self { inner, swaps }
    }

    /// The stream again.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: Write + Unpin> SwapIo<T> {
    /// Writes a copy with the secrets in it.
    fn poll_swapped(&mut self, cx: &mut Context<'_>, mut copy: Zeroizing<Vec<u8>>) -> Poll<io::Result<usize>> {
        let mut queue = self.swaps.queue();
        let (ends, hold) = fill(&mut queue, &mut copy)?;
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &copy[..hold]))?;
        settle(&mut queue, &ends, written);
        Poll::Ready(Ok(written))
    }
}

/// More than hyper ever writes at once with small bodies; what is over waits for the next call.
const MOST: usize = 64 * 1024;

impl<T: Write + Unpin> Write for SwapIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        let queue = me.swaps.queue();
        if queue.is_empty() {
            drop(queue);
            return Pin::new(&mut me.inner).poll_write(cx, bytes);
        }
        let copy = Zeroizing::new(bytes[..bytes.len().min(MOST)].to_vec());
        drop(queue);
        me.poll_swapped(cx, copy)
    }

    /// Head and body apart, so that a large body need not be copied behind its head. What may hold a placeholder is put
    /// together, so that none is cut.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        if me.swaps.queue().is_empty() {
            return Pin::new(&mut me.inner).poll_write_vectored(cx, slices);
        }
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>().min(MOST);
        let mut copy = Zeroizing::new(Vec::with_capacity(length));
        for slice in slices {
            let room = length - copy.len();
            copy.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        me.poll_swapped(cx, copy)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    /// Makes hyper put head and body into one buffer, unless it is told otherwise: small answers are written so.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

impl<T: Read + Unpin> Read for SwapIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

/// Puts every secret whose placeholder is in `copy` into its place. Gives the ends of the places, in order, and how
/// much of `copy` may be written: a placeholder cut by the end of the buffer waits for the rest.
fn fill(queue: &mut VecDeque<Swap>, copy: &mut [u8]) -> io::Result<(Vec<usize>, usize)> {
    let mut ends = Vec::with_capacity(queue.len());
    let mut from = 0;
    for swap in queue.iter() {
        let rest = &copy[from..];
        let left = swap.placeholder.len() - swap.sent;
        let start = match swap.sent {
            0 => find(rest, &swap.placeholder),
            _ => rest.starts_with(&swap.placeholder[swap.sent..]).then_some(0),
        };
        let Some(start) = start.map(|at| from + at) else {
            if swap.sent > 0 || swap.expect == Expect::InNextWrite {
                return Err(io::Error::other("no placeholder in the head"));
            }
            return Ok((ends, copy.len() - cut_at_end(rest, &swap.placeholder)?));
        };
        let mut whole = Zeroizing::new(vec![0; swap.placeholder.len()]);
        swap.source.lend(&mut whole)?;
        copy[start..start + left].copy_from_slice(&whole[swap.sent..]);
        from = start + left;
        ends.push(from);
    }
    Ok((ends, copy.len()))
}

/// How many bytes at the end of `rest` are the beginning of the placeholder.
fn cut_at_end(rest: &[u8], placeholder: &[u8]) -> io::Result<usize> {
    let cut = (1..placeholder.len()).rev().find(|n| rest.ends_with(&placeholder[..*n])).unwrap_or(0);
    if cut > 0 && cut == rest.len() {
        return Err(io::Error::other("a placeholder was cut"));
    }
    Ok(cut)
}

/// Marks what `written` bytes have sent: whole swaps leave the queue, one that was cut remembers how far it got.
fn settle(queue: &mut VecDeque<Swap>, ends: &[usize], written: usize) {
    for end in ends {
        let Some(swap) = queue.front_mut() else { return };
        if *end > written {
            let left = swap.placeholder.len() - swap.sent;
            swap.sent += (written + left).saturating_sub(*end);
            return;
        }
        if let Some(receipt) = queue.pop_front().and_then(|swap| swap.receipt) {
            receipt.delivered();
        }
    }
}

/// A placeholder is random: its first letter rarely stands elsewhere, and to prepare a cleverer search takes longer.
fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memchr_iter(*what.first()?, within).find(|at| within[*at..].starts_with(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Told(Arc<AtomicUsize>);
    impl Delivered for Told {
        fn delivered(self: Box<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes so many bytes a call, as a full socket does.
    struct Trickle {
        step: usize,
        got: Vec<u8>,
    }
    impl Write for Trickle {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let n = buf.len().min(self.step);
            self.got.extend_from_slice(&buf[..n]);
            Poll::Ready(Ok(n))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn send(io: &mut SwapIo<Trickle>, mut bytes: &[u8]) -> io::Result<()> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while !bytes.is_empty() {
            let Poll::Ready(n) = Pin::new(&mut *io).poll_write(&mut cx, bytes) else { unreachable!() };
            bytes = &bytes[n?..];
        }
        Ok(())
    }

    const SECRET: &[u8] = b"st-0123456789abcdef0123456789";

    fn armed(expect: Expect, told: &Arc<AtomicUsize>) -> Swap {
        let source = Box::new(Secret::copied(SECRET));
        Swap::new(SECRET.len(), source, expect).unwrap().telling(Box::new(Told(told.clone())))
    }

    #[test]
    fn the_secret_arrives_however_the_socket_cuts_it() {
        for step in 1..120 {
            let told = Arc::new(AtomicUsize::new(0));
            let swaps = Swaps::default();
            let mut io = SwapIo::new(Trickle { step, got: Vec::new() }, swaps.clone());
            let (one, two) = (armed(Expect::Later, &told), armed(Expect::Later, &told));
            let plain = format!("head {} between {} tail", one.placeholder(), two.placeholder());
            swaps.arm(one);
            swaps.arm(two);
            send(&mut io, b"an earlier answer ").unwrap();
            send(&mut io, plain.as_bytes()).unwrap();
            send(&mut io, b" a later answer").unwrap();
            let secret = std::str::from_utf8(SECRET).unwrap();
            let wanted = format!("an earlier answer head {secret} between {secret} tail a later answer");
            assert_eq!(String::from_utf8(io.inner.got).unwrap(), wanted, "step {step}");
            assert_eq!(told.load(Ordering::Relaxed), 2);
        }
    }

    #[test]
    fn head_and_body_that_come_apart_arrive_with_the_secret_in_its_place() {
        for (step, cut) in (1..99).flat_map(|step| [3, 20, 60].map(|cut| (step, cut))) {
            let swaps = Swaps::default();
            let mut io = SwapIo::new(Trickle { step, got: Vec::new() }, swaps.clone());
            let swap = armed(Expect::InNextWrite, &Arc::default());
            let plain = format!("a key: {}, an end of the head and a body as well", swap.placeholder());
            swaps.arm(swap);
            let mut sent = 0;
            while sent < plain.len() {
                let (head, body) = (&plain[sent..cut.max(sent)], &plain[cut.max(sent)..]);
                let slices = [head, body].map(|part| io::IoSlice::new(part.as_bytes()));
                let mut cx = Context::from_waker(std::task::Waker::noop());
                let Poll::Ready(n) = Pin::new(&mut io).poll_write_vectored(&mut cx, &slices) else { unreachable!() };
                sent += n.unwrap();
            }
            let secret = std::str::from_utf8(SECRET).unwrap();
            let wanted = format!("a key: {secret}, an end of the head and a body as well");
            assert_eq!(String::from_utf8(io.inner.got).unwrap(), wanted, "step {step}, cut {cut}");
        }
    }

    #[test]
    fn a_head_without_its_placeholder_is_not_sent() {
        let swaps = Swaps::default();
        let mut io = SwapIo::new(Trickle { step: 99, got: Vec::new() }, swaps.clone());
        swaps.arm(armed(Expect::InNextWrite, &Arc::default()));
        assert!(send(&mut io, b"GET / HTTP/1.1\r\n\r\n").is_err());
        assert!(io.inner.got.is_empty());
    }

    #[test]
    fn a_secret_that_changed_its_length_is_not_sent() {
        let swaps = Swaps::default();
        let mut io = SwapIo::new(Trickle { step: 99, got: Vec::new() }, swaps.clone());
        let swap = Swap::new(20, Box::new(Secret::copied(SECRET)), Expect::InNextWrite).unwrap();
        let head = format!("key: {}", swap.placeholder());
        swaps.arm(swap);
        assert!(send(&mut io, head.as_bytes()).is_err());
        assert!(io.inner.got.is_empty());
    }

    #[test]
    fn look_alikes_in_a_body_are_left_alone() {
        let told = Arc::new(AtomicUsize::new(0));
        let swaps = Swaps::default();
        let mut io = SwapIo::new(Trickle { step: 7, got: Vec::new() }, swaps.clone());
        let swap = armed(Expect::InNextWrite, &told);
        let placeholder = swap.placeholder().to_owned();
        swaps.arm(swap);
        send(&mut io, format!("key: {placeholder}\r\n\r\n{placeholder}").as_bytes()).unwrap();
        let text = String::from_utf8(io.inner.got).unwrap();
        assert!(text.ends_with(&placeholder) && text.matches(std::str::from_utf8(SECRET).unwrap()).count() == 1);
    }
}
