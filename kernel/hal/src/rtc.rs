//! The real-time clock of a PC: the only one that knows the date.
//!
//! Owns the reading of its registers (Motorola MC146818A) and their translation to seconds since
//! 1970. Read once at start; [`crate::clock`] goes on from there.

use x86_64::instructions::port::Port;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
/// Status A: the registers are about to change.
const UPDATING: u8 = 1 << 7;
/// Status B: the registers are binary, not BCD.
const BINARY: u8 = 1 << 2;
/// Status B: hours count to 24.
const HOURS_24: u8 = 1 << 1;
/// Hours register on a 12-hour clock: afternoon.
const AFTERNOON: u8 = 1 << 7;
/// Reads until two in a row agree; an update takes 2 ms.
const READS_MAX: u32 = 10_000;

/// Seconds, minutes, hours, day of the month, month, year.
const REGISTERS: [u8; 6] = [0x00, 0x02, 0x04, 0x07, 0x08, 0x09];

type Fields = [u8; REGISTERS.len()];

fn read(register: u8) -> u8 {
    let mut index = Port::<u8>::new(INDEX);
    // SAFETY: Selects a register of the clock; NMI stays enabled (bit 7 clear).
    unsafe { index.write(register) };
    let mut data = Port::<u8>::new(DATA);
    // SAFETY: Reads the selected register.
    unsafe { data.read() }
}

/// Seconds since 1970, UTC, if there is a clock and it makes sense.
pub(crate) fn seconds() -> Option<u64> {
    let mut last = None;
    for _ in 0..READS_MAX {
        if read(STATUS_A) & UPDATING != 0 {
            continue;
        }
        let fields: Fields = REGISTERS.map(read);
        if last == Some(fields) {
            return decode(fields, read(STATUS_B));
        }
        last = Some(fields);
    }
    None
}

fn decode(fields: Fields, status_b: u8) -> Option<u64> {
    let number = |raw: u8| -> u64 {
        let binary = status_b & BINARY != 0;
        u64::from(if binary { raw } else { (raw >> 4) * 10 + (raw & 0xf) })
    };
    let [seconds, minutes, hours_raw, day, month, year] = fields;
    let mut hours = number(hours_raw & !AFTERNOON);
    if status_b & HOURS_24 == 0 {
        hours = hours % 12 + if hours_raw & AFTERNOON != 0 { 12 } else { 0 };
    }
    let (seconds, minutes, day) = (number(seconds), number(minutes), number(day));
    let (month, year) = (number(month), 2000 + number(year));
    let valid = seconds < 60
        && minutes < 60
        && hours < 24
        && (1..=31).contains(&day)
        && (1..=12).contains(&month);
    valid.then(|| ((days(year, month, day) * 24 + hours) * 60 + minutes) * 60 + seconds)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that
/// the leap day is the last of its year.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_month = (153 * month + 2) / 5;
    let before_year = year * 365 + year / 4 - year / 100 + year / 400;
    const BEFORE_1970: u64 = 719_468;
    before_year + before_month + day - 1 - BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29), 11_016);
        assert_eq!(days(2000, 3, 1), 11_017);
        assert_eq!(days(2100, 3, 1), 47_541, "2100 has no leap day");
        // 2026-11-24 07:20:05, as a PC has it: BCD, 24 hours.
        let fields = [0x05, 0x20, 0x07, 0x24, 0x11, 0x26];
        assert_eq!(decode(fields, HOURS_24), Some(1_795_504_805));
        let binary = [5, 20, 7, 24, 11, 26];
        assert_eq!(decode(binary, HOURS_24 | BINARY), Some(1_795_504_805));
    }

    #[test]
    fn twelve_hours() {
        let at = |hours| decode([0, 0, hours, 1, 1, 1], 0).expect("valid") / 3600 % 24;
        assert_eq!((at(0x12), at(0x01), at(0x92), at(0x91)), (0, 1, 12, 23));
    }

    #[test]
    fn nonsense_is_no_time() {
        assert_eq!(decode([0xff; 6], HOURS_24), None, "no clock reads as ones");
        assert_eq!(decode([0; 6], HOURS_24), None, "day and month begin at 1");
        for at in 0..5 {
            let mut fields = [1, 1, 1, 1, 1, 1];
            fields[at] = 0x75;
            assert_eq!(decode(fields, HOURS_24), None, "register {at}");
        }
    }
}
