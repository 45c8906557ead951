//! A line of known shape allocates nothing.

#![allow(unsafe_code)] // A global allocator cannot be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use foreshock_templates::TemplateMiner;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: all calls go to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn lines_of_known_shape_allocate_nothing() {
    let lines = [
        "accepted 10.0.0.1:80 of kestrel at 12:30:01.5, took 5 MB",
        "größe of \"two words\" is [red, green] in Point{x: 1} and /var/lib/x",
        "user joe k= v=1 joe@lab.example db.example.org:80 Mon Jan 7",
    ];
    let mut miner = TemplateMiner::default();
    for line in lines {
        miner.observe(line);
    }
    let before = ALLOCATIONS.get();
    assert!(before > 0);
    for _ in 0..100 {
        for line in lines {
            assert!(!miner.observe(line).is_new);
            let (mined, parameters) = miner.observe_parameters(line);
            assert!(!mined.is_new && parameters.map(|one| one.kind() as usize).sum::<usize>() > 0);
        }
        assert_eq!(miner.drain_merges().len(), 0);
        miner.take_merges();
    }
    assert_eq!(ALLOCATIONS.get(), before);
}
