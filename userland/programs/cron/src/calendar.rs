//! When: the five fields of a line of the table, and the next minute that fits them.
//!
//! Owns [`Calendar`]. Times are seconds since 1970, UTC. A day fits by its date and by its weekday
//! where one of the two is `*`; where both are given, one of them is enough, as everywhere.

use alloc::format;
use alloc::string::String;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Days that are looked at: the 29th of February comes at least every eight years.
const DAYS_MAX: u64 = 8 * 366 + 1;

/// The minutes at which a job is due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Calendar {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether days and weekdays are given both.
    either: bool,
}

impl Calendar {
    /// Reads minute, hour, day of the month, month and weekday (0 or 7 is Sunday).
    ///
    /// # Errors
    ///
    /// Which field is wrong, and what it may be.
    pub fn parse(fields: [&str; 5]) -> Result<Calendar, String> {
        let [minutes, hours, days, months, weekdays] = fields;
        let week = field(weekdays, "weekday", 0, 7)?;
        Ok(Calendar {
            minutes: field(minutes, "minute", 0, 59)?,
            hours: field(hours, "hour", 0, 23)?,
            days: field(days, "day", 1, 31)?,
            months: field(months, "month", 1, 12)?,
            weekdays: week | week >> 7,
            either: days != "*" && weekdays != "*",
        })
    }

    /// The first minute after `time` that fits, if there ever is one.
    pub fn next_after(&self, time: u64) -> Option<u64> {
        let from = (time / MINUTE + 1) * MINUTE;
        let mut minute_of_day = from % DAY / MINUTE;
        for day in from / DAY..from / DAY + DAYS_MAX {
            if self.fits_day(day) {
                let mut minutes = minute_of_day..DAY / MINUTE;
                if let Some(minute) = minutes.find(|minute| self.fits_minute(*minute)) {
                    return Some(day * DAY + minute * MINUTE);
                }
            }
            minute_of_day = 0;
        }
        None
    }

    fn fits_minute(&self, minute_of_day: u64) -> bool {
        has(self.minutes, minute_of_day % 60) && has(self.hours, minute_of_day / 60)
    }

    fn fits_day(&self, day: u64) -> bool {
        let (month, day_of_month) = date(day);
        // The first of January 1970 was a Thursday.
        let (by_day, by_week) = (has(self.days, day_of_month), has(self.weekdays, (day + 4) % 7));
        has(self.months, month) && if self.either { by_day || by_week } else { by_day && by_week }
    }
}

fn has(set: u64, number: u64) -> bool {
    set >> number & 1 != 0
}

/// Month and day of the month, of a day since 1970.
fn date(mut day: u64) -> (u64, u64) {
    let mut year = 1970;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    loop {
        let days = if is_leap(year) { 366 } else { 365 };
        if day < days {
            break;
        }
        day -= days;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for (month, days) in (1..).zip(months) {
        if day < days {
            return (month, day + 1);
        }
        day -= days;
    }
    // The days of the months are those of the year.
    (12, 31)
}

/// A field as a set of numbers: parts between commas, each `*`, `N` or `N-M`, maybe with `/STEP`.
fn field(text: &str, name: &str, first: u64, last: u64) -> Result<u64, String> {
    let wrong =
        || format!("the {name} '{text}' is not of {first} to {last}, as in *, 1,3, 2-4, */2");
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (number(from)?, number(to)?),
            None if range == "*" => (first, last),
            // "5/10" goes on to the end, "5" is itself.
            None => (number(range)?, if step.is_some() { last } else { number(range)? }),
        };
        let step = step.unwrap_or(1);
        if from < first || to > last || from > to || step == 0 {
            return Err(wrong());
        }
        let mut at = from;
        while at <= to {
            set |= 1 << at;
            at = at.saturating_add(step);
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-28 23:58:30, a Wednesday before a leap day.
    const TIME: u64 = 1_709_164_710;

    fn next(fields: &str) -> Option<u64> {
        let fields: Vec<&str> = fields.split(' ').collect();
        let fields = fields.try_into().expect("five fields");
        Calendar::parse(fields).expect("good fields").next_after(TIME)
    }

    #[test]
    fn the_next_time_is_what_a_calendar_says() {
        let midnight = 1_709_164_800;
        assert_eq!(midnight % DAY, 0);
        let day = |days: u64| Some(midnight + days * DAY);
        assert_eq!(next("* * * * *"), Some(midnight - MINUTE));
        assert_eq!(next("0 * * * *"), day(0));
        assert_eq!(next("*/15 * * * *"), day(0));
        assert_eq!(next("58 23 * * *"), Some(midnight + DAY - 2 * MINUTE));
        assert_eq!(next("30 4-6/2 * * *"), Some(midnight + 4 * HOUR + 30 * MINUTE));
        assert_eq!(next("0 0 29 2 *"), day(0), "this year has one");
        assert_eq!(next("0 0 1 3 *"), day(1));
        assert_eq!(next("0 0 31 12 *"), day(306));
        assert_eq!(next("0 0 * * 5"), day(1), "a Friday");
        assert_eq!(next("0 0 * * 0"), day(3));
        assert_eq!(next("0 0 * * 7"), day(3), "Sunday too");
        assert_eq!(next("0 0 15 * 6"), day(2), "either will do");
        assert_eq!(next("0 0 30 2 *"), None);
    }

    #[test]
    fn wrong_fields_are_named() {
        for (fields, name) in [
            (["60", "*", "*", "*", "*"], "minute '60'"),
            (["*", "24", "*", "*", "*"], "hour '24'"),
            (["*", "*", "0", "*", "*"], "day '0'"),
            (["*", "*", "*", "1-13", "*"], "month '1-13'"),
            (["*", "*", "*", "*", "8"], "weekday '8'"),
            (["*/0", "*", "*", "*", "*"], "minute '*/0'"),
            (["5-3", "*", "*", "*", "*"], "minute '5-3'"),
            (["", "*", "*", "*", "*"], "minute ''"),
            (["a", "*", "*", "*", "*"], "minute 'a'"),
            (["1,", "*", "*", "*", "*"], "minute '1,'"),
        ] {
            let error = Calendar::parse(fields).expect_err("wrong");
            assert!(error.contains(name), "{error}");
        }
    }
}
