//! Files that are laid over a Linux guest's initial RAM disk.
//!
//! Owns [`archive`], which writes the format that Linux unpacks (`newc`: a header in hexadecimal,
//! the name, the bytes, each to a multiple of four). Archives may follow one another.

/// A file or folder of the guest.
pub struct Entry<'a> {
    /// Without the leading slash; its folder is in the archive before.
    pub path: &'a str,
    /// `None` for a folder.
    pub bytes: Option<&'a [u8]>,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
/// The name that ends an archive.
const END: &str = "TRAILER!!!";

/// An archive of these.
pub fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let mode = if entry.bytes.is_some() { PROGRAM } else { FOLDER };
        push(&mut out, number + 1, mode, entry.path, entry.bytes.unwrap_or_default());
    }
    push(&mut out, 0, 0, END, &[]);
    out
}

fn push(out: &mut Vec<u8>, inode: usize, mode: u32, name: &str, bytes: &[u8]) {
    // Inode, mode, user, group, links, time, length, four numbers of devices, name with its zero,
    // a check that this format has not.
    let fields = [inode, mode as usize, 0, 0, 1, 0, bytes.len(), 0, 0, 0, 0, name.len() + 1, 0];
    out.extend_from_slice(b"070701");
    fields.iter().for_each(|field| out.extend_from_slice(format!("{field:08x}").as_bytes()));
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    fill(out);
    out.extend_from_slice(bytes);
    fill(out);
}

fn fill(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_linux_reads() {
        let entries =
            [Entry { path: "a", bytes: None }, Entry { path: "a/b", bytes: Some(b"hello") }];
        let bytes = archive(&entries);
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 3);
        // A header is 110 bytes: two entries' names and the bytes are where it says.
        assert_eq!(&text[110..112], "a\0");
        let second = 112;
        assert_eq!(&text[second + 6 + 6 * 8..second + 6 + 7 * 8], "00000005");
        assert_eq!(&text[second + 110..second + 114], "a/b\0");
        assert_eq!(&text[second + 116..second + 121], "hello");
        assert!(text.contains(END));
    }
}
