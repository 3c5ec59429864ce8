//! Wipes the stack and the vector registers that a task used, after each of its polls; the one way to spawn.
//! It must never be bypassed by `tokio::spawn`: what such a task leaves behind stays until it is overwritten by luck.
#![allow(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::registers;

/// How much stack below a poll is wiped, in bytes.
///
/// A TLS handshake, the deepest thing that is polled, goes 34 KiB deep in optimised code and 150 KiB in a debug build
/// (measured in `depth.rs`, which fails when this is too little).
pub const DEPTH: usize = if cfg!(debug_assertions) { 256 * 1024 } else { 64 * 1024 };

/// The same for tasks that do no TLS, see [`spawn_shallow`]: 64 KiB are more than the processor's first cache holds, and
/// whatever ran next would begin with an empty one.
/// They go 14 KiB deep (measured by `tests/it/leak/stack.rs`); this is 24.
pub const SHALLOW: usize = DEPTH * 3 / 8;

/// The same for [`apart`]; 60 ns.
const APART: usize = DEPTH / 8;

/// A future whose every poll is followed by a wipe of so many bytes of stack, and of the vector registers.
#[derive(Debug)]
pub struct Scrub<F, const N: usize = DEPTH>(F);

impl<F: Future, const N: usize> Future for Scrub<F, N> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: structural pinning: the field is never moved out and `Scrub` has no `Drop`.
        let inner = unsafe { self.map_unchecked_mut(|scrub| &mut scrub.0) };
        let polled = deeper(|| inner.poll(context));
        wipe_below::<N>();
        polled
    }
}

/// Spawns a task on the current runtime.
#[allow(clippy::disallowed_methods, reason = "this is the function that all others are sent to")]
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Scrub::<_>(future))
}

/// Spawns a task whose polls stay within three eighths of [`DEPTH`]: those of the broker socket, as `tests/it/leak.rs` proves
/// on the release build, and those that carry what goes to a provider once TLS has shaken hands. What goes deeper all the
/// same is wiped by the next task that [`spawn`] spawned, or by the main one within a second.
#[allow(clippy::disallowed_methods, reason = "as above")]
pub fn spawn_shallow<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Scrub::<_, SHALLOW>(future))
}

/// Spawns such a task on another loop.
pub fn spawn_shallow_on<F>(handle: &tokio::runtime::Handle, future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    handle.spawn(Scrub::<_, SHALLOW>(future))
}

/// A part of a shallow task that goes as deep as [`DEPTH`], with its own wipe.
pub fn deep<F: Future>(future: F) -> Scrub<F> {
    Scrub(future)
}

/// A part of a shallow task that goes as deep again, with its own wipe.
pub fn part<F: Future>(future: F) -> Scrub<F, SHALLOW> {
    Scrub(future)
}

/// Runs a future to its end on this thread.
pub fn run<F: Future>(runtime: &tokio::runtime::Runtime, future: F) -> F::Output {
    runtime.block_on(Scrub::<_>(future))
}

/// Runs `work` on a thread of its own whose stack is wiped before it ends: glibc keeps the stacks of dead threads.
///
/// # Errors
/// The system gives no thread: pthread_create(3).
pub fn thread<R>(work: impl FnOnce() -> R + Send + 'static) -> std::io::Result<std::thread::JoinHandle<R>>
where
    R: Send + 'static,
{
    std::thread::Builder::new().spawn(move || {
        let result = deeper(work);
        wipe();
        result
    })
}

/// Does `work` that may wait for a disk, or takes long, on such a thread, and keeps the loop free meanwhile. It is done to its
/// end, whether or not anybody waits for it.
///
/// # Errors
/// There is no thread, or it ended without a result.
pub async fn beside<R>(work: impl FnOnce() -> R + Send + 'static) -> std::io::Result<R>
where
    R: Send + 'static,
{
    let (tell, told) = tokio::sync::oneshot::channel();
    thread(move || drop(tell.send(work())))?;
    told.await.map_err(|_| std::io::ErrorKind::Interrupted.into())
}

/// Calls `work` and wipes what a hash or a cipher leaves of its input on the stack, before anything else is made there:
/// a value with gaps takes along what lay in them, and may live for long. For work that goes no deeper than that.
pub fn apart<R>(work: impl FnOnce() -> R) -> R {
    let result = deeper(work);
    wipe_below::<APART>();
    result
}

/// Wipes [`DEPTH`] bytes of stack below the caller, and the vector registers. Nothing under the feature `leaky-tasks`.
pub fn wipe() {
    wipe_below::<DEPTH>();
}

#[inline]
fn wipe_below<const N: usize>() {
    if cfg!(not(feature = "leaky-tasks")) {
        stack::<N>();
        registers::wipe();
    }
}

/// Calls `work` in a frame of its own, so that all it leaves lies below the frame that wipes.
#[inline(never)]
fn deeper<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[inline(never)]
fn stack<const N: usize>() {
    let mut below = std::mem::MaybeUninit::<[u8; N]>::uninit();
    // SAFETY: `below` is N bytes of our own frame.
    unsafe { super::alloc::wipe(below.as_mut_ptr().cast(), N) }
}

#[cfg(not(feature = "leaky-tasks"))]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    const MARK: [u8; 16] = *b"a secret's trace";

    /// How far down is looked for it, in bytes.
    const WINDOW: usize = 32 * 1024;

    /// Leaves `MARK` all over 8 KiB of stack.
    #[inline(never)]
    fn spill() {
        let mut trace = [[0; 16]; 512];
        std::hint::black_box(&mut trace).fill(std::hint::black_box(MARK));
        std::hint::black_box(&trace);
    }

    /// Whether `MARK` is found on the stack below this call; read as another process would.
    #[inline(never)]
    fn found_below() -> bool {
        let here = 0_u8;
        let end = std::hint::black_box(std::ptr::from_ref(&here)) as u64;
        let mut below = vec![0; WINDOW];
        let memory = std::fs::File::open("/proc/self/mem").expect("/proc is mounted");
        memory.read_exact_at(&mut below, end - WINDOW as u64).expect("our own stack can be read");
        below.windows(MARK.len()).any(|part| part == MARK)
    }

    #[test]
    fn a_poll_leaves_nothing_on_the_stack() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        deeper(spill);
        assert!(found_below(), "the test sees a stack that is not wiped");
        wipe();
        run(&runtime, async { spill() });
        assert!(!found_below());
    }

    #[test]
    fn work_done_apart_leaves_nothing_on_the_stack() {
        apart(spill);
        assert!(!found_below());
    }

    #[test]
    fn a_spawned_task_is_scrubbed_at_each_poll() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let task = spawn(async {
                spill();
                tokio::task::yield_now().await;
                found_below()
            });
            assert!(!task.await.unwrap(), "the second poll looks over what the first one left");
        });
    }

    #[test]
    fn a_thread_gives_its_result_and_leaves_a_clean_stack() {
        let end = thread(|| {
            spill();
            let here = 0_u8;
            std::hint::black_box(std::ptr::from_ref(&here)) as u64
        });
        // glibc keeps the stack of a dead thread for the next one, and 16 KiB of what was on it.
        let end = end.unwrap().join().unwrap();
        let mut below = vec![0; 12 * 1024];
        let memory = std::fs::File::open("/proc/self/mem").expect("/proc is mounted");
        memory.read_exact_at(&mut below, end - 12 * 1024).unwrap();
        assert!(!below.windows(MARK.len()).any(|part| part == MARK));
    }
}
