//! What the tools say to a person.
//!
//! Owns the macros [`say!`](crate::say) and [`complain!`](crate::complain), to be used in place of
//! `println!` and `eprintln!`, which panic where nobody reads any more: `craton up | head` is no
//! fault of the tool. With `+` in front no end of line follows.

/// Prints a line on standard output; if nobody reads that any more, it is lost.
#[macro_export]
macro_rules! say {
    (+ $($text:tt)*) => {{
        let mut out = std::io::stdout().lock();
        let _ = std::io::Write::write_fmt(&mut out, format_args!($($text)*));
        let _ = std::io::Write::flush(&mut out);
    }};
    () => { $crate::say!(+ "\n") };
    ($text:literal $($more:tt)*) => { $crate::say!(+ "{}\n", format_args!($text $($more)*)) };
}

/// Prints a line on standard error; if nobody reads that any more, it is lost.
#[macro_export]
macro_rules! complain {
    (+ $($text:tt)*) => {{
        let mut out = std::io::stderr().lock();
        let _ = std::io::Write::write_fmt(&mut out, format_args!($($text)*));
    }};
    ($text:literal $($more:tt)*) => { $crate::complain!(+ "{}\n", format_args!($text $($more)*)) };
}
