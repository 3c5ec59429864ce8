//! Wipes the vector registers, in which memcpy and ciphers leave parts of what they moved.
//! It must never touch a register that a C function may not: `clobber_abi` tells the compiler that all of those change.
#![allow(unsafe_code)]

/// Zeroes every vector register that this processor has.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[rustfmt::skip]
pub(super) fn wipe() {
    // std keeps what cpuid said in a static: one load and a test.
    if std::is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512F is there; all that changes is named.
        unsafe {
            std::arch::asm!(
                "vzeroall",
                "vpxorq zmm16,zmm16,zmm16", "vpxorq zmm17,zmm17,zmm17", "vpxorq zmm18,zmm18,zmm18",
                "vpxorq zmm19,zmm19,zmm19", "vpxorq zmm20,zmm20,zmm20", "vpxorq zmm21,zmm21,zmm21",
                "vpxorq zmm22,zmm22,zmm22", "vpxorq zmm23,zmm23,zmm23", "vpxorq zmm24,zmm24,zmm24",
                "vpxorq zmm25,zmm25,zmm25", "vpxorq zmm26,zmm26,zmm26", "vpxorq zmm27,zmm27,zmm27",
                "vpxorq zmm28,zmm28,zmm28", "vpxorq zmm29,zmm29,zmm29", "vpxorq zmm30,zmm30,zmm30",
                "vpxorq zmm31,zmm31,zmm31",
                clobber_abi("C"), options(nostack, nomem, preserves_flags)
            );
        }
    } else if std::is_x86_feature_detected!("avx") {
        // SAFETY: AVX is there; all that changes is named.
        unsafe { std::arch::asm!("vzeroall", clobber_abi("C"), options(nostack, nomem, preserves_flags)) }
    } else {
        // SAFETY: SSE2 is part of x86-64; all that changes is named.
        unsafe {
            std::arch::asm!(
                "pxor xmm0,xmm0", "pxor xmm1,xmm1", "pxor xmm2,xmm2", "pxor xmm3,xmm3", "pxor xmm4,xmm4",
                "pxor xmm5,xmm5", "pxor xmm6,xmm6", "pxor xmm7,xmm7", "pxor xmm8,xmm8", "pxor xmm9,xmm9",
                "pxor xmm10,xmm10", "pxor xmm11,xmm11", "pxor xmm12,xmm12", "pxor xmm13,xmm13",
                "pxor xmm14,xmm14", "pxor xmm15,xmm15",
                clobber_abi("C"), options(nostack, nomem, preserves_flags)
            );
        }
    }
}

/// Zeroes every vector register; a write to v0..v31 zeroes what SVE has above them too.
#[cfg(target_arch = "aarch64")]
#[inline(never)]
#[rustfmt::skip]
pub(super) fn wipe() {
    // SAFETY: Advanced SIMD is part of every aarch64 that Linux runs on; all that changes is named.
    unsafe {
        std::arch::asm!(
            "movi v0.2d,#0", "movi v1.2d,#0", "movi v2.2d,#0", "movi v3.2d,#0", "movi v4.2d,#0",
            "movi v5.2d,#0", "movi v6.2d,#0", "movi v7.2d,#0", "movi v8.2d,#0", "movi v9.2d,#0",
            "movi v10.2d,#0", "movi v11.2d,#0", "movi v12.2d,#0", "movi v13.2d,#0", "movi v14.2d,#0",
            "movi v15.2d,#0", "movi v16.2d,#0", "movi v17.2d,#0", "movi v18.2d,#0", "movi v19.2d,#0",
            "movi v20.2d,#0", "movi v21.2d,#0", "movi v22.2d,#0", "movi v23.2d,#0", "movi v24.2d,#0",
            "movi v25.2d,#0", "movi v26.2d,#0", "movi v27.2d,#0", "movi v28.2d,#0", "movi v29.2d,#0",
            "movi v30.2d,#0", "movi v31.2d,#0",
            clobber_abi("C"), options(nostack, nomem, preserves_flags)
        );
    }
}

/// Elsewhere the stack alone is wiped.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn wipe() {}

#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod tests {
    const MARK: [u8; 16] = *b"secret in vector";

    /// Puts `MARK` into the lowest and the highest register, calls `between`, and tells what they hold then.
    fn around(between: extern "C" fn()) -> ([u8; 16], [u8; 16]) {
        let (mut low, mut high) = ([0; 16], [0; 16]);
        // SAFETY: the pointers are to 16 bytes each and kept in registers that a call leaves alone.
        unsafe {
            std::arch::asm!(
                "movdqu xmm0, [{mark}]", "movdqu xmm15, [{mark}]",
                "call {between}",
                "movdqu [r12], xmm0", "movdqu [r13], xmm15",
                mark = in(reg) MARK.as_ptr(), between = in(reg) between,
                in("r12") low.as_mut_ptr(), in("r13") high.as_mut_ptr(),
                clobber_abi("C"),
            );
        }
        (low, high)
    }

    /// The same for the registers that AVX-512 adds.
    fn around_zmm(between: extern "C" fn()) -> [u8; 16] {
        let mut upper = [0; 16];
        // SAFETY: as above, and the caller made sure of AVX-512F.
        unsafe {
            std::arch::asm!(
                "vbroadcasti32x4 zmm31, [{mark}]",
                "call {between}",
                "vextracti32x4 [r12], zmm31, 3",
                mark = in(reg) MARK.as_ptr(), between = in(reg) between, in("r12") upper.as_mut_ptr(),
                clobber_abi("C"),
            );
        }
        upper
    }

    extern "C" fn wiping() {
        super::wipe();
    }

    extern "C" fn idle() {}

    #[test]
    fn nothing_stays_in_the_vector_registers() {
        assert_eq!(around(idle), (MARK, MARK), "the test sees a register that is not wiped");
        assert_eq!(around(wiping), ([0; 16], [0; 16]));
        if std::is_x86_feature_detected!("avx512f") {
            assert_eq!(around_zmm(idle), MARK);
            assert_eq!(around_zmm(wiping), [0; 16]);
        }
    }
}
