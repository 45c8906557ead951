//! A reader in a group, whose offsets are committed by hand.

use std::collections::BTreeMap;

use foreshock_kafka::{GroupEvent, GroupReader};

use super::*;

/// What a member of the group was told.
struct Member {
    reader: GroupReader,
    /// Where each partition of it was committed, and ends.
    assigned: BTreeMap<i32, (Option<(i64, String)>, i64)>,
    read: BTreeMap<i32, Vec<u64>>,
    ended: BTreeMap<i32, bool>,
}

impl Member {
    fn join(case: &Case) -> Member {
        let mut connection = case.connection.clone();
        connection.properties.insert("session.timeout.ms".into(), "6000".into());
        let reader = GroupReader::join(&connection, &case.group, &case.input).unwrap();
        Member { reader, assigned: BTreeMap::new(), read: BTreeMap::new(), ended: BTreeMap::new() }
    }

    fn poll(&mut self) {
        let read = &mut self.read;
        let event = self.reader.poll(Duration::from_millis(20), |record| {
            read.entry(record.partition).or_default().push(number(record.payload));
        });
        match event.unwrap() {
            Some(GroupEvent::Assigned { partition, committed, begin, end }) => {
                assert_eq!(begin, 0);
                self.read.remove(&partition);
                self.assigned.insert(partition, (committed, end));
            }
            Some(GroupEvent::Revoked { partition }) => {
                let read = self.read.get(&partition).map_or(0, Vec::len) as i64;
                self.reader.commit(partition, read, "given up", true).unwrap();
                self.assigned.remove(&partition);
                self.ended.remove(&partition);
            }
            Some(GroupEvent::End { partition }) => drop(self.ended.insert(partition, true)),
            None => {}
        }
    }
}

fn poll_until(what: &str, members: &mut [&mut Member], holds: impl Fn(&[&mut Member]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds(members) {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        members.iter_mut().for_each(|member| member.poll());
    }
}

#[test]
fn a_member_reads_from_the_beginning_and_learns_what_was_committed() {
    let mut case = Case::new("group");
    case.write(40);
    let mut first = Member::join(&case);
    poll_until("all is read", &mut [&mut first], |members| members[0].ended.len() == 4);
    assert!(first.assigned.values().all(|assigned| *assigned == (None, 10)), "{:?}", first.assigned);
    assert_eq!(first.read[&3], (0..10).map(|i| 4 * i + 3).collect::<Vec<u64>>());
    first.reader.commit(3, 7, "held=aa+", true).unwrap();
    first.reader.commit(2, 8, "", true).unwrap();
    drop(first);

    let mut second = Member::join(&case);
    poll_until("all is read again", &mut [&mut second], |members| members[0].ended.len() == 4);
    assert_eq!(second.assigned[&3], (Some((7, "held=aa+".to_owned())), 10));
    assert_eq!(second.assigned[&2], (Some((8, String::new())), 10));
    assert_eq!((second.assigned[&0].clone(), second.read[&3].len()), ((None, 10), 10));

    second.reader.pause(3, true).unwrap();
    case.write(4);
    poll_until("what is not paused is read", &mut [&mut second], |members| members[0].read[&2].len() == 11);
    assert_eq!(second.read[&3].len(), 10);
    second.reader.pause(3, false).unwrap();
    poll_until("it goes on where it was", &mut [&mut second], |members| members[0].read[&3].len() == 11);
}

#[test]
fn what_one_member_gives_up_is_committed_before_another_has_it() {
    let mut case = Case::new("shared-group");
    case.write(40);
    let mut first = Member::join(&case);
    poll_until("all is read", &mut [&mut first], |members| members[0].ended.len() == 4);
    let mut second = Member::join(&case);
    poll_until("they share", &mut [&mut first, &mut second], |members| {
        members.iter().all(|member| member.assigned.len() == 2)
    });
    for member in [&first, &second] {
        let expected = Some((10, "given up".to_owned()));
        assert!(
            member.assigned.values().all(|(committed, _)| *committed == expected),
            "{:?}",
            member.assigned
        );
    }
    drop(first);
    poll_until("one has all", &mut [&mut second], |members| members[0].assigned.len() == 4);
}
