use super::*;
use crate::SnapshotRef;
use proptest::prelude::*;

const CONFIG: u64 = 7;
const DIGEST: OutputDigest = OutputDigest { state: 11, count: 3 };

fn name(offset: i64, epoch: u64) -> SnapshotName {
    SnapshotName::new("g", "t", 0, offset, epoch).unwrap()
}

fn manifest(config_digest: u64, snapshot: Option<&SnapshotName>) -> CheckpointManifest {
    let snapshot =
        snapshot.map(|name| SnapshotRef { name: name.to_string(), offset: name.offset(), digest: DIGEST });
    CheckpointManifest { epoch: 9, config_digest, time_ms: None, read_from: None, snapshot }
}

fn input<'a>(
    committed_offset: i64,
    manifest: Option<&'a CheckpointManifest>,
    low_watermark: i64,
    snapshots: &'a [SnapshotName],
) -> RecoveryInput<'a> {
    let (group, topic, partition) = ("g", "t", 0);
    RecoveryInput {
        group,
        topic,
        partition,
        committed_offset,
        manifest,
        config_digest: CONFIG,
        low_watermark,
        snapshots,
    }
}

#[track_caller]
fn check(
    committed_offset: i64,
    manifest: Option<CheckpointManifest>,
    low_watermark: i64,
    snapshots: &[SnapshotName],
    expected: RecoveryPlan,
) {
    assert_eq!(plan(&input(committed_offset, manifest.as_ref(), low_watermark, snapshots)), expected);
}

fn restore(snapshot: SnapshotName, unmute_at: i64, compare: Option<OutputDigest>) -> RecoveryPlan {
    RecoveryPlan::Restore { replay_from: snapshot.offset(), snapshot, unmute_at, compare }
}

fn warm_up(unmute_at: i64, reason: ColdStart) -> RecoveryPlan {
    RecoveryPlan::WarmUp { unmute_at, reason }
}

#[test]
fn the_snapshot_of_the_manifest_is_preferred() {
    let wanted = name(100, 5);
    let manifest = || Some(manifest(CONFIG, Some(&wanted)));
    let all = [name(50, 1), wanted.clone(), name(100, 6), name(120, 7), name(500, 8)];
    check(150, manifest(), 0, &all, restore(wanted.clone(), 150, Some(DIGEST)));
    // At both ends.
    check(100, manifest(), 100, &all, restore(wanted.clone(), 100, Some(DIGEST)));
}

#[test]
fn else_an_older_one_without_comparison() {
    let manifest = || Some(manifest(CONFIG, Some(&name(100, 5))));
    check(150, manifest(), 0, &[name(50, 1), name(70, 2)], restore(name(70, 2), 150, None));
    // An administrator moved the offset back before the snapshot.
    check(80, manifest(), 0, &[name(50, 1), name(100, 5)], restore(name(50, 1), 80, None));
    // The snapshot lies before what is retained, and another does not.
    check(150, manifest(), 110, &[name(100, 5), name(120, 6)], restore(name(120, 6), 150, None));
    // Two of one offset.
    check(150, manifest(), 0, &[name(70, 3), name(70, 2)], restore(name(70, 3), 150, None));
}

#[test]
fn what_an_administrator_skips_stays_unread() {
    let skipping = |snapshot: SnapshotName| RecoveryPlan::Restore {
        snapshot,
        replay_from: 150,
        unmute_at: 150,
        compare: None,
    };
    check(150, None, 0, &[name(50, 1), name(160, 2)], skipping(name(50, 1)));
    // Also from a topic that has forgotten what lies between.
    check(150, None, 140, &[name(50, 1)], skipping(name(50, 1)));
    // And still after more was committed, until there is a snapshot from behind it.
    let mut manifest = manifest(CONFIG, Some(&name(50, 1)));
    manifest.read_from = Some(150);
    let replay = |snapshot: &SnapshotName, compare| RecoveryPlan::Restore {
        snapshot: snapshot.clone(),
        replay_from: snapshot.offset().max(150),
        unmute_at: 170,
        compare,
    };
    check(170, Some(manifest.clone()), 0, &[name(50, 1)], replay(&name(50, 1), Some(DIGEST)));
    check(170, Some(manifest), 0, &[name(60, 1)], replay(&name(60, 1), None));
}

#[test]
fn a_later_snapshot_is_never_used() {
    let later = name(151, 5);
    let missing = ColdStart::SnapshotMissing { name: later.to_string() };
    check(150, Some(manifest(CONFIG, Some(&later))), 0, std::slice::from_ref(&later), warm_up(150, missing));
}

#[test]
fn other_partitions_do_not_count() {
    let others = [
        SnapshotName::new("g", "t", 1, 100, 5).unwrap(),
        SnapshotName::new("g", "u", 0, 100, 5).unwrap(),
        SnapshotName::new("h", "t", 0, 100, 5).unwrap(),
    ];
    for other in &others {
        let missing = ColdStart::SnapshotMissing { name: other.to_string() };
        check(150, Some(manifest(CONFIG, Some(other))), 0, &others, warm_up(150, missing));
    }
}

#[test]
fn a_manifest_that_contradicts_itself_is_not_compared_with() {
    let mut manifest = manifest(CONFIG, Some(&name(100, 5)));
    manifest.snapshot.as_mut().unwrap().offset = 90;
    check(150, Some(manifest), 0, &[name(100, 5)], restore(name(100, 5), 150, None));
}

#[test]
fn after_a_change_of_configuration_nothing_is_compared() {
    let all = [name(50, 1), name(100, 5)];
    let other = || Some(manifest(CONFIG + 1, Some(&name(100, 5))));
    check(150, other(), 0, &all, restore(name(100, 5), 150, None));
    check(150, other(), 0, &all[..1], restore(name(50, 1), 150, None));
}

#[test]
fn a_cold_start_has_a_reason() {
    let all = [name(100, 5)];
    let other = || Some(manifest(CONFIG + 1, Some(&name(100, 5))));
    check(150, other(), 0, &all, restore(name(100, 5), 150, None));
    check(150, None, 0, &[], warm_up(150, ColdStart::NoManifest));
    check(150, Some(manifest(CONFIG, None)), 0, &[], warm_up(150, ColdStart::NoSnapshot));
    let missing = ColdStart::SnapshotMissing { name: name(100, 5).to_string() };
    check(150, Some(manifest(CONFIG, Some(&all[0]))), 0, &[], warm_up(150, missing));
    let deleted = ColdStart::RecordsDeleted { snapshot_offset: 100, low_watermark: 101 };
    check(150, Some(manifest(CONFIG, Some(&all[0]))), 101, &all, warm_up(150, deleted));
    // The committed offset itself is gone: the earliest record there is comes next.
    let deleted = ColdStart::RecordsDeleted { snapshot_offset: 100, low_watermark: 400 };
    check(150, Some(manifest(CONFIG, Some(&all[0]))), 400, &all, warm_up(400, deleted));
}

proptest! {
    #[test]
    fn invariants(
        committed_offset in 0..40_i64,
        manifest_snapshot in proptest::option::of(proptest::option::of((0..40_i64, 0..3_u64))),
        is_configuration_same: bool,
        low_watermark in 0..40_i64,
        snapshots in proptest::collection::vec((0..2_i32, 0..40_i64, 0..3_u64), 0..8),
    ) {
        let snapshots: Vec<_> = snapshots
            .into_iter()
            .map(|(partition, offset, epoch)| SnapshotName::new("g", "t", partition, offset, epoch).unwrap())
            .collect();
        let config_digest = if is_configuration_same { CONFIG } else { CONFIG + 1 };
        let manifest = manifest_snapshot.map(|snapshot| {
            manifest(config_digest, snapshot.map(|(offset, epoch)| name(offset, epoch)).as_ref())
        });
        let input = input(committed_offset, manifest.as_ref(), low_watermark, &snapshots);
        let read_from = manifest.as_ref().map_or(committed_offset, |_| 0);
        let usable = |name: &&SnapshotName| {
            let replay_from = name.offset().max(read_from);
            let is_there = replay_from >= low_watermark || replay_from == committed_offset;
            name.partition() == 0 && name.offset() <= committed_offset && is_there
        };
        match plan(&input) {
            RecoveryPlan::Restore { snapshot, replay_from, unmute_at, compare } => {
                prop_assert!(snapshots.contains(&snapshot));
                prop_assert!(usable(&&snapshot));
                prop_assert_eq!(replay_from, snapshot.offset().max(read_from));
                prop_assert_eq!(unmute_at, committed_offset);
                prop_assert!((low_watermark <= replay_from || replay_from == unmute_at) && replay_from <= unmute_at);
                let wanted = manifest.as_ref().and_then(|manifest| manifest.snapshot.as_ref());
                let is_wanted = wanted.is_some_and(|wanted| wanted.name == snapshot.to_string());
                prop_assert_eq!(compare.is_some(), is_wanted && is_configuration_same);
                if !is_wanted {
                    let newest = snapshots.iter().filter(usable).map(|name| (name.offset(), name.epoch())).max();
                    prop_assert_eq!(newest, Some((snapshot.offset(), snapshot.epoch())));
                }
            }
            RecoveryPlan::WarmUp { unmute_at, reason } => {
                prop_assert_eq!(unmute_at, committed_offset.max(low_watermark));
                prop_assert!(!snapshots.iter().any(|name| usable(&name)));
                prop_assert!(!reason.to_string().is_empty());
            }
        }
    }
}
