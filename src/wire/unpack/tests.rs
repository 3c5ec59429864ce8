//! What is packed comes out as it went in, however it is cut, and nothing grows beyond its bounds.

use super::*;
use flate2::{Compression, write};
use proptest::prelude::*;
use std::io::Write;

const BOUNDS: UnpackBounds = UnpackBounds { ratio: 100, window: 8 << 20 };
const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

/// Brotli without compression (RFC 7932, 9.2): a window of 64 KiB, stored pieces, an empty last one.
fn stored_brotli(plain: &[u8]) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 1);
    for piece in plain.chunks(1 << 16) {
        let length = u32::try_from(piece.len() - 1).unwrap();
        bits |= (length << 3 | 1 << 19) << count;
        bytes.extend_from_slice(&bits.to_le_bytes()[..(count as usize + 20).div_ceil(8)]);
        bytes.extend_from_slice(piece);
        (bits, count) = (0, 0);
    }
    bytes.push(u8::try_from(3 << count).unwrap());
    bytes
}

fn packed(coding: Coding, plain: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut encoder = write::GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate => {
            let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Brotli => stored_brotli(plain),
        Coding::Zstd => ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest),
    }
}

/// What comes out, and the longest piece of it.
fn unpacked(coding: Coding, packed: &[u8], size: usize, bounds: UnpackBounds) -> io::Result<(Vec<u8>, usize)> {
    let (mut unpacker, mut all, mut longest) = (Unpacker::new(coding, bounds), Vec::new(), 0);
    let mut put = |piece: Bytes| {
        longest = longest.max(piece.len());
        all.extend_from_slice(&piece);
    };
    assert!(unpacker.piece()?.is_none(), "nothing of nothing");
    for piece in packed.chunks(size) {
        unpacker.feed(Bytes::copy_from_slice(piece));
        while let Some(piece) = unpacker.piece()? {
            put(piece);
        }
    }
    unpacker.finish()?.into_iter().for_each(put);
    Ok((all, longest))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
    digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
}

fn words(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| format!("data: {{\"delta\":\"word {}\"}}\n\n", n * n % 977).into_bytes()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_coding_gives_back_what_went_in(
        coding in prop::sample::select(ALL.to_vec()), count in 0_usize..4000, size in 1_usize..70_000,
    ) {
        let plain = words(count);
        let (all, longest) = unpacked(coding, &packed(coding, &plain), size, BOUNDS).unwrap();
        prop_assert!(all == plain, "{} of {} bytes", all.len(), plain.len());
        prop_assert!(longest <= 160 << 10, "{longest}");
    }

    #[test]
    fn whatever_is_cut_short_is_broken(coding in prop::sample::select(ALL.to_vec()), at in any::<prop::sample::Index>()) {
        let packed = packed(coding, &words(50));
        let cut = &packed[..at.index(packed.len() - 1) + 1];
        prop_assume!(cut.len() < packed.len());
        prop_assert!(unpacked(coding, cut, 64, BOUNDS).is_err(), "{} of {}", cut.len(), packed.len());
    }

    #[test]
    fn what_is_damaged_or_nonsense_ends_without_harm(
        coding in prop::sample::select(ALL.to_vec()), noise in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..6),
        nonsense in prop::collection::vec(any::<u8>(), 0..600), size in 1_usize..300,
    ) {
        let mut damaged = packed(coding, &words(200));
        for (at, byte) in noise {
            let at = at.index(damaged.len());
            damaged[at] = byte;
        }
        let _ = unpacked(coding, &damaged, size, BOUNDS);
        let _ = unpacked(coding, &nonsense, size, BOUNDS);
    }
}

#[test]
fn a_flushed_event_comes_out_before_the_next_one_goes_in() {
    let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
    let mut unpacker = Unpacker::new(Coding::Gzip, BOUNDS);
    for event in ["data: one\n\n", "data: two\n\n"] {
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        unpacker.feed(std::mem::take(encoder.get_mut()).into());
        assert_eq!(unpacker.piece().unwrap().unwrap(), event);
        assert_eq!(unpacker.piece().unwrap(), None);
    }
    let mut unpacker = Unpacker::new(Coding::Brotli, BOUNDS);
    let stored = stored_brotli(b"data: one\n\n");
    unpacker.feed(stored[..stored.len() - 1].to_vec().into());
    assert_eq!(unpacker.piece().unwrap().unwrap(), "data: one\n\n");
}

#[test]
fn what_real_encoders_write_is_read() {
    let text = "data: hello world, hello again, hello world, hello again\n\n".repeat(40);
    // Of Node's zlib.brotliCompressSync and of zstd -19.
    let brotli = "1b0f094024155874c02107015bc79652241078c8427a334666916f2d4e8349edec9000007401";
    let zstd =
        "28b52ffd04683d0100d0646174613a2068656c6c6f20776f726c642c616761696e2c0a0a0300d3e8cac73d5701d90c0340efbe34";
    for (coding, hex) in [(Coding::Brotli, brotli), (Coding::Zstd, zstd)] {
        for size in [1, 7, 100] {
            let (plain, _) = unpacked(coding, &bytes(hex), size, BOUNDS).unwrap();
            assert_eq!(String::from_utf8(plain).unwrap(), text, "{coding:?} in pieces of {size}");
        }
    }
    let mut bare = write::DeflateEncoder::new(Vec::new(), Compression::default());
    bare.write_all(b"hello hello").unwrap();
    assert_eq!(unpacked(Coding::Deflate, &bare.finish().unwrap(), 3, BOUNDS).unwrap().0, b"hello hello");
    let twice = [packed(Coding::Gzip, b"one "), packed(Coding::Gzip, b"two")].concat();
    assert_eq!(unpacked(Coding::Gzip, &twice, 5, BOUNDS).unwrap().0, b"one two");
    let twice = [packed(Coding::Zstd, b"one "), packed(Coding::Zstd, b"two")].concat();
    assert_eq!(unpacked(Coding::Zstd, &twice, 5, BOUNDS).unwrap().0, b"one two");
}

#[test]
fn a_bomb_goes_off_at_its_bound() {
    let zeros = vec![0; 8 << 20];
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
        let bomb = packed(coding, &zeros);
        let fault = unpacked(coding, &bomb, 4096, BOUNDS).unwrap_err().to_string();
        assert!(fault.contains("unpack_ratio"), "{coding:?}: {fault}");
        let wide = UnpackBounds { ratio: 100_000, ..BOUNDS };
        let (all, longest) = unpacked(coding, &bomb, 4096, wide).unwrap();
        assert!(all.len() == zeros.len() && longest <= 160 << 10, "{coding:?}: {longest}");
    }
}

#[test]
fn a_window_beyond_the_bound_is_refused() {
    let small = UnpackBounds { window: 64 << 10, ..BOUNDS };
    assert!(unpacked(Coding::Brotli, &stored_brotli(b"x"), 9, small).is_ok());
    // A window of 16 MiB; and the 0x11 that means a larger one.
    assert!(unpacked(Coding::Brotli, &[0x0F, 0x03], 9, BOUNDS).is_err());
    assert!(unpacked(Coding::Brotli, &[0x11, 0x1E, 0x03], 9, UnpackBounds { window: 1 << 30, ..BOUNDS }).is_err());
    // A frame without a size, whose window is 16 MiB, and an empty last block.
    let frame = [0x28, 0xB5, 0x2F, 0xFD, 0, 14 << 3, 1, 0, 0];
    assert!(unpacked(Coding::Zstd, &frame, 9, BOUNDS).is_err());
    assert_eq!(unpacked(Coding::Zstd, &frame, 9, UnpackBounds { window: 16 << 20, ..BOUNDS }).unwrap().0, b"");
}

#[test]
fn no_body_is_whole_and_bytes_behind_the_end_are_not() {
    for coding in ALL {
        assert_eq!(unpacked(coding, b"", 1, BOUNDS).unwrap().0, b"");
        let more = [packed(coding, b"one"), b"xyz!".to_vec()].concat();
        assert!(unpacked(coding, &more, 100, BOUNDS).is_err(), "{coding:?}");
        assert!(unpacked(coding, &more, 1, BOUNDS).is_err(), "{coding:?}");
    }
}

#[test]
fn one_known_coding_is_one() {
    assert_eq!(Coding::of(b"GZip"), Some(Coding::Gzip));
    for none in ["", "identity", "gzip, br", "compress", "zstd;q=1", "br "] {
        assert_eq!(Coding::of(none.as_bytes()), None, "{none}");
    }
}

/// What is unpacked may hold a key, and only so much of the stack is wiped after each poll. (To make a decoder of deflate
/// takes more, of zeroes.) A thread whose stack is too small would end the whole test.
#[test]
fn unpacking_goes_not_deep() {
    const STACK: usize = 16 * 1024;
    let plain = words(400);
    for coding in ALL {
        let (packed, mut unpacker) = (packed(coding, &plain), Unpacker::new(coding, BOUNDS));
        unpacker.feed(packed[..2].to_vec().into());
        assert_eq!(unpacker.piece().unwrap(), None);
        unpacker.feed(packed[2..].to_vec().into());
        let small = std::thread::Builder::new().stack_size(STACK);
        let unpacked = small.spawn(move || {
            let mut length = 0;
            while let Some(piece) = unpacker.piece().unwrap() {
                length += piece.len();
            }
            length + unpacker.finish().unwrap().map_or(0, |piece| piece.len())
        });
        assert_eq!(unpacked.unwrap().join().unwrap(), plain.len(), "{coding:?}");
    }
}
