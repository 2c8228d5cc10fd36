//! Fixed-width copies in safe code: what both kernels are made of.
//!
//! A copy always moves a whole number of vectors and may write past what it means to write; the next copy overwrites
//! that. Positions inside a window are sums of bytes, so that one bounds check a window is all that remains.

use headcount_block::Dictionary;

/// Bytes of output that one step may touch.
pub(crate) const OUT_WINDOW: usize = 1024;
/// Bytes of text that one step may touch.
pub(crate) const TEXT_WINDOW: usize = 512;
/// Room that an output buffer needs past its content.
pub(crate) const SLACK: usize = OUT_WINDOW;

/// Bytes that hold the opening of every provider of up to 18 bytes.
pub(crate) const OPEN: usize = 48;

/// What stands around the values of one provider: `{"provider":"facebook","providerUID":"`, and `"}` after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Template {
    pub(crate) open: [u8; OPEN],
    pub(crate) open_len: u8,
    pub(crate) close_len: u8,
}

/// Templates by dictionary id + 1; 0 is "no identity".
#[derive(Debug)]
pub(crate) struct Templates(pub(crate) [Template; 256]);

impl Templates {
    pub(crate) fn new(dictionary: &Dictionary) -> Self {
        let empty = Template { open: [0; OPEN], open_len: 0, close_len: 0 };
        let mut all = [empty; 256];
        for (template, name) in all.iter_mut().skip(1).zip(dictionary.names()) {
            let text = [b"{\"provider\":\"", name, b"\",\"providerUID\":\""].concat();
            for (to, from) in template.open.iter_mut().zip(&text) {
                *to = *from;
            }
            template.open_len = u8::try_from(text.len()).unwrap_or_default();
            template.close_len = 2;
        }
        Self(all)
    }
}

/// Between two identities of a user (index 0) or between two users (index 1), and the length that counts.
pub(crate) const BETWEEN: [([u8; 16], usize); 2] = [(*b",               ", 1), (*b"]},{\"UID\":\"     ", 11)];
/// Between a UID and its first identity; nothing between identities.
pub(crate) const AFTER_UID: [usize; 2] = [0, 16];
pub(crate) const IDENTITIES: [u8; 16] = *b"\",\"identities\":[";

/// Copies `N` bytes between positions that the caller keeps inside both windows.
#[inline(always)]
pub(crate) fn fixed<const N: usize, const T: usize>(
    out: &mut [u8; OUT_WINDOW],
    to: usize,
    text: &[u8; T],
    from: usize,
) {
    if let (Some(to), Some(from)) =
        (out.get_mut(to..).and_then(<[u8]>::first_chunk_mut::<N>), text.get(from..).and_then(<[u8]>::first_chunk::<N>))
    {
        *to = *from;
    }
}

/// Copies a UID of up to 127 bytes.
#[inline(always)]
pub(crate) fn uid<const T: usize>(out: &mut [u8; OUT_WINDOW], to: usize, text: &[u8; T], from: usize, len: usize) {
    fixed::<32, T>(out, to, text, from);
    if len > 32 {
        fixed::<128, T>(out, to, text, from);
    }
}

/// Copies a providerUID of up to 255 bytes.
#[inline(always)]
pub(crate) fn provider_uid<const T: usize>(
    out: &mut [u8; OUT_WINDOW],
    to: usize,
    text: &[u8; T],
    from: usize,
    len: usize,
) {
    fixed::<32, T>(out, to, text, from);
    if len > 32 {
        fixed::<256, T>(out, to, text, from);
    }
}

/// First eight bytes of a UID, mixed with a length.
pub(crate) fn mix(uid: &[u8], lens: usize) -> u64 {
    let head = uid.iter().take(8).fold(0, |all, &b| (all << 8) | u64::from(b));
    head.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((lens * 131 + uid.len()) as u64)
}
