//! Wipes the stack and the vector registers that a task used, after each of its polls; the one way to spawn.
//! It must never be bypassed by `tokio::spawn`: what such a task leaves behind stays until it is overwritten by luck.
#![allow(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// How much stack below a poll is wiped, in bytes.
pub const DEPTH: usize = 64 * 1024;

/// A future whose every poll is followed by a wipe of the stack and the vector registers it used.
#[derive(Debug)]
pub struct Scrub<F>(F);

impl<F: Future> Future for Scrub<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: structural pinning: the field is never moved out and `Scrub` has no `Drop`.
        let inner = unsafe { self.map_unchecked_mut(|scrub| &mut scrub.0) };
        let polled = deeper(|| inner.poll(context));
        wipe();
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
    tokio::spawn(Scrub(future))
}

/// Runs a future to its end on this thread.
pub fn run<F: Future>(runtime: &tokio::runtime::Runtime, future: F) -> F::Output {
    runtime.block_on(Scrub(future))
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

/// Wipes [`DEPTH`] bytes of stack below the caller, and the vector registers. Nothing under the feature `leaky-tasks`.
#[inline]
pub fn wipe() {
    if cfg!(not(feature = "leaky-tasks")) {
        stack::<DEPTH>();
        registers();
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

#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn registers() {
    // std keeps the answer of cpuid in a static: one load here.
    if std::is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512F is there; every register that is changed is named as clobbered.
        unsafe {
            std::arch::asm!(
                "vzeroall",
                "vpxorq zmm16,zmm16,zmm16", "vpxorq zmm17,zmm17,zmm17", "vpxorq zmm18,zmm18,zmm18",
                "vpxorq zmm19,zmm19,zmm19", "vpxorq zmm20,zmm20,zmm20", "vpxorq zmm21,zmm21,zmm21",
                "vpxorq zmm22,zmm22,zmm22", "vpxorq zmm23,zmm23,zmm23", "vpxorq zmm24,zmm24,zmm24",
                "vpxorq zmm25,zmm25,zmm25", "vpxorq zmm26,zmm26,zmm26", "vpxorq zmm27,zmm27,zmm27",
                "vpxorq zmm28,zmm28,zmm28", "vpxorq zmm29,zmm29,zmm29", "vpxorq zmm30,zmm30,zmm30",
                "vpxorq zmm31,zmm31,zmm31",
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _, out("xmm16") _, out("xmm17") _,
                out("xmm18") _, out("xmm19") _, out("xmm20") _, out("xmm21") _, out("xmm22") _, out("xmm23") _,
                out("xmm24") _, out("xmm25") _, out("xmm26") _, out("xmm27") _, out("xmm28") _, out("xmm29") _,
                out("xmm30") _, out("xmm31") _,
                options(nostack, nomem, preserves_flags),
            );
        }
    } else if std::is_x86_feature_detected!("avx") {
        // SAFETY: AVX is there; every register that is changed is named as clobbered.
        unsafe {
            std::arch::asm!(
                "vzeroall",
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                options(nostack, nomem, preserves_flags),
            );
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn registers() {}
