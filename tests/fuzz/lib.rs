//! What the targets share: how an input is cut into pieces, as a socket might.

/// The first byte says how long the pieces are of the rest: 1 to 256 bytes.
pub fn pieces(input: &[u8]) -> Option<(&[u8], std::slice::Chunks<'_, u8>)> {
    let (size, rest) = input.split_first()?;
    Some((rest, rest.chunks(usize::from(*size) + 1)))
}
