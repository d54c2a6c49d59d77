//! The calendar of warnings, shown from end to end: for each local day of a tenant, exactly the keys that the rule says,
//! in the mail of each subscriber and in the notifications. What is expected comes from an oracle that knows the rule and
//! nothing of the product.

mod faked;
mod letters;
mod missed;
mod oracle;
mod people;
mod schedule;
mod walk;
mod world;

use faked::{
    the_binary_keeps_the_calendar, the_binary_keeps_the_calendar_of_a_spring,
    the_binary_keeps_the_calendar_of_an_autumn, the_scheduler_survives_a_clock_that_goes_back,
};
use missed::{
    a_clock_that_goes_back_sends_nothing_again, a_day_ends_at_its_midnight, a_new_calendar_counts_at_once,
    a_run_before_the_hour_is_the_days_run, what_was_missed_is_made_up_once,
};
use people::{people_get_one_mail_or_none, the_groups_of_the_hour_count};
use walk::{a_leap_day_and_the_spring, the_autumn, the_day_that_samoa_left_out};

on_both_engines!(
    a_leap_day_and_the_spring,
    the_autumn,
    the_day_that_samoa_left_out,
    people_get_one_mail_or_none,
    the_groups_of_the_hour_count,
    what_was_missed_is_made_up_once,
    a_day_ends_at_its_midnight,
    a_clock_that_goes_back_sends_nothing_again,
    a_run_before_the_hour_is_the_days_run,
    a_new_calendar_counts_at_once,
    the_binary_keeps_the_calendar,
    the_binary_keeps_the_calendar_of_a_spring,
    the_binary_keeps_the_calendar_of_an_autumn,
    the_scheduler_survives_a_clock_that_goes_back,
);
