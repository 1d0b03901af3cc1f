//! What memories hold in the beginning.
//!
//! Owns [`Image`], which many memories share: the pages of a program's data. A memory gets its own
//! copy of one when it touches it ([`super::demand`]).

use super::layout::PAGE_BYTES;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The bytes of a page.
pub type PageContent = [u8; PAGE_BYTES as usize];

/// What a memory holds in the beginning, where that is not zeros.
#[derive(Debug, Default)]
pub struct Image {
    /// By number, each once.
    pages: Vec<(u32, Box<PageContent>)>,
}

impl Image {
    /// An image of these pages; of those with one number, the last.
    pub fn new(pages: impl IntoIterator<Item = (u32, Box<PageContent>)>) -> Self {
        let mut pages: Vec<_> = pages.into_iter().collect();
        // The sort keeps equals in order.
        pages.sort_by_key(|(number, _)| core::cmp::Reverse(*number));
        pages.reverse();
        pages.dedup_by_key(|(number, _)| *number);
        Image { pages }
    }

    /// What the page of this number holds, unless that is zeros.
    pub fn page(&self, number: u32) -> Option<&PageContent> {
        let place = self.pages.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.pages[place].1)
    }

    /// The numbers of its pages, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.pages.iter().map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn page(byte: u8) -> Box<PageContent> {
        Box::new([byte; PAGE_BYTES as usize])
    }

    #[test]
    fn an_image_has_what_it_was_given_and_zeros() {
        let image = Image::new(vec![(9, page(1)), (2, page(2)), (9, page(3))]);
        assert_eq!(image.numbers().collect::<Vec<_>>(), [2, 9]);
        assert_eq!(image.page(2), Some(&*page(2)));
        assert_eq!(image.page(9), Some(&*page(3)), "the last one given");
        assert_eq!(image.page(3), None);
    }
}
