//! The loader: the same batches for any number of workers, from any position, through failures.

use hadal_data::transform::{RandomCrop, RandomHorizontalFlip};
use hadal_data::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn images(n: usize) -> ImageDataset {
    let pixels = (0..n * 2 * 6 * 5).map(|i| (i * 31 % 251) as u8).collect();
    let labels = (0..n).map(|i| (i % 3) as i64).collect();
    let names = ["a", "b", "c"].map(String::from).to_vec();
    ImageDataset::new(Array::u8(&[n, 2, 6, 5], pixels).unwrap(), labels, names).unwrap()
}

fn augmented(n: usize) -> Arc<dyn Dataset> {
    let t = Compose::new(vec![
        Arc::new(RandomCrop::new(6, 5).unwrap().padding(2)),
        Arc::new(RandomHorizontalFlip::default()),
    ]);
    Arc::new(images(n).normalize(&[0.4, 0.5], &[0.2, 0.3]).unwrap().transform(Arc::new(t)))
}

fn collect(iter: BatchIter) -> Vec<Batch> {
    iter.map(Result::unwrap).collect()
}

/// A data set that counts reads, and can fail, panic or be slow.
#[derive(Default)]
struct Probe {
    reads: AtomicUsize,
    fail_at: Option<usize>,
    panic_at: Option<usize>,
    delay: Duration,
}

impl Dataset for Probe {
    fn len(&self) -> usize {
        20
    }
    fn get(&self, index: usize, cx: &mut SampleCtx) -> Result<Sample> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(self.delay);
        if self.fail_at == Some(index) {
            return Err(DataError::Missing(format!("sample {index} is bad")));
        }
        assert!(self.panic_at != Some(index), "sample {index} broke");
        Ok(Sample { input: Array::f32(&[1], vec![index as f32])?, target: cx.label(index as i64) })
    }
}

#[test]
fn same_batches_for_any_number_of_workers() {
    let set = augmented(53);
    let sampler: Arc<dyn Sampler> = Arc::new(WeightedSampler::new(&[1.0; 53], 70).unwrap());
    let base = DataLoader::new(set).batch_size(8).shuffle(9);
    for loader in [base.clone(), base.clone().drop_last(true), base.sampler(sampler)] {
        for epoch in [0, 1] {
            let expected = collect(loader.epoch(epoch).iter());
            for (workers, prefetch) in [(1, 1), (1, 5), (2, 2), (4, 1), (4, 3), (9, 0)] {
                let other = loader.clone().workers(workers).prefetch(prefetch);
                assert_eq!(collect(other.epoch(epoch).iter()), expected, "{workers} workers");
            }
        }
        assert_ne!(collect(loader.epoch(0).iter()), collect(loader.epoch(1).iter()));
        let reseeded = loader.clone().seed(10);
        assert_ne!(collect(loader.epoch(0).iter()), collect(reseeded.epoch(0).iter()));
    }
}

#[test]
fn resumes_at_every_batch_without_reading_what_was_skipped() {
    for workers in [0, 2] {
        let loader = DataLoader::new(augmented(30)).batch_size(4).shuffle(5).workers(workers);
        let whole = collect(loader.epoch(3).iter());
        assert_eq!(whole.len(), 8);
        for taken in 0..=whole.len() {
            let mut iter = loader.epoch(3).iter();
            iter.by_ref().take(taken).for_each(|b| drop(b.unwrap()));
            let text = serde_json::to_string(&iter.state()).unwrap();
            drop(iter);
            let state: LoaderState = serde_json::from_str(&text).unwrap();
            let rest = collect(loader.resume(&state).unwrap());
            assert_eq!(rest, whole[taken..], "{workers} workers, after {taken}");
        }
    }
    let probe = Arc::new(Probe::default());
    let loader = DataLoader::new(Arc::clone(&probe) as Arc<dyn Dataset>).batch_size(5).shuffle(1);
    let mut iter = loader.epoch(0).iter();
    iter.nth(1).unwrap().unwrap();
    let state = iter.state();
    let before = probe.reads.load(Ordering::Relaxed);
    assert_eq!(collect(loader.resume(&state).unwrap()).len(), 2);
    assert_eq!(probe.reads.load(Ordering::Relaxed) - before, 10);
}

#[test]
fn a_position_of_another_run_is_refused() {
    let loader = DataLoader::new(augmented(30)).batch_size(4).shuffle(5);
    let state = loader.epoch(0).iter().state();
    let message = |l: DataLoader, s: &LoaderState| l.resume(s).unwrap_err().to_string();
    assert!(message(loader.clone().seed(6), &state).contains("seed 5, this loader has 6"));
    assert!(message(loader.clone().batch_size(5), &state).contains("batches per epoch 8"));
    assert!(
        message(loader.clone().sampler(Arc::new(SequentialSampler)), &state).contains("order of samples")
    );
    assert!(message(DataLoader::new(augmented(31)).batch_size(4).shuffle(5), &state).contains("samples 30"));
    let far = LoaderState { batch_index: 9, ..state };
    assert!(message(loader, &far).contains("batch index 9"));
}

#[test]
fn an_error_or_panic_is_that_batch_s_alone() {
    // The panic's own message goes to stderr; the test is about what the loader does with it.
    for workers in [0, 1, 3] {
        let failing = Arc::new(Probe { fail_at: Some(7), panic_at: Some(12), ..Probe::default() });
        let loader = DataLoader::new(failing).batch_size(5).workers(workers);
        let got: Vec<_> = loader.epoch(0).iter().collect();
        assert_eq!(got.len(), 4, "{workers} workers");
        assert!(got[0].is_ok() && got[3].is_ok());
        assert_eq!(got[1].as_ref().unwrap_err().to_string(), "sample 7 is bad");
        let panic = got[2].as_ref().unwrap_err().to_string();
        assert!(panic.starts_with("reading batch 2 of epoch 0 panicked: sample 12 broke"), "{panic}");
    }
}

#[test]
fn dropping_the_iterator_stops_the_workers() {
    let probe = Arc::new(Probe { delay: Duration::from_millis(100), ..Probe::default() });
    let loader =
        DataLoader::new(Arc::clone(&probe) as Arc<dyn Dataset>).batch_size(20).workers(2).prefetch(4);
    let start = Instant::now();
    let iter = loader.epoch(0).iter();
    std::thread::sleep(Duration::from_millis(5));
    drop(iter);
    // A batch takes 2 s; the workers stop after the sample they are at.
    assert!(start.elapsed() < Duration::from_millis(1900), "{:?}", start.elapsed());
    let reads = probe.reads.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(probe.reads.load(Ordering::Relaxed), reads, "no thread reads on");
    // Only this test and the loader still hold the data set: the threads are gone.
    assert_eq!(Arc::strong_count(&probe), 2);
}

#[test]
fn workers_do_not_run_further_ahead_than_told() {
    let probe = Arc::new(Probe::default());
    let loader = DataLoader::new(Arc::clone(&probe) as Arc<dyn Dataset>).batch_size(1).workers(2).prefetch(2);
    let settle = |expected| {
        let start = Instant::now();
        while probe.reads.load(Ordering::Relaxed) < expected && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(probe.reads.load(Ordering::Relaxed), expected);
    };
    let mut iter = loader.epoch(0).iter();
    settle(4);
    iter.next().unwrap().unwrap();
    settle(5);
}

#[test]
fn settings_that_cannot_be_right_are_one_error() {
    let one = |loader: DataLoader| {
        let got: Vec<_> = loader.epoch(0).iter().collect();
        assert_eq!(got.len(), 1);
        got.into_iter().next().unwrap().unwrap_err().to_string()
    };
    let loader = DataLoader::new(augmented(5));
    assert!(one(loader.clone().batch_size(0)).contains("batch_size: is 0"));
    assert!(one(loader.clone().batch_size(6).drop_last(true)).contains("5 samples give no batch of 6"));
    assert!(one(loader.clone().sampler(Arc::new(SubsetSampler::new(vec![1, 5])))).contains("sample 5"));
    let weights = WeightedSampler::new(&[1.0; 4], 3).unwrap();
    assert!(one(loader.clone().sampler(Arc::new(weights))).contains("4 weights but 5 samples"));
    let empty = Subset::new(augmented(5), vec![]).unwrap();
    assert!(one(DataLoader::new(Arc::new(empty))).contains("at least one sample"));
    assert_eq!(loader.clone().batch_size(usize::MAX).epoch(0).iter().count(), 1);
    for bad in [&[-1.0][..], &[f64::NAN], &[0.0, 0.0], &[]] {
        assert!(WeightedSampler::new(bad, 1).is_err());
    }
}

#[test]
fn samples_of_different_shapes_name_both() {
    let inner = augmented(4);
    let uneven = MapDataset::new(inner, |s, _| {
        let n = s.target.as_i64().unwrap()[0] as usize + 1;
        Ok(Sample { input: Array::f32(&[n], vec![0.0; n])?, ..s })
    });
    let e = DataLoader::new(Arc::new(uneven)).batch_size(2).epoch(0).iter().next().unwrap().unwrap_err();
    let e = e.to_string();
    assert!(
        e.contains("input of sample 1 is f32 [2], but the first sample of the batch (number 0) has f32 [1]"),
        "{e}"
    );
}

#[test]
fn samplers_draw_what_they_should() {
    let order = RandomSampler.indices(1000, 1, 0).unwrap();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.iter().copied().eq(0..1000) && order != sorted);
    let weights = [0.0, 1.0, 0.0, 3.0, 0.0];
    let drawn = WeightedSampler::new(&weights, 40_000).unwrap().indices(5, 2, 0).unwrap();
    let count = |i| drawn.iter().filter(|&&x| x == i).count();
    assert_eq!(count(0) + count(2) + count(4), 0);
    assert!((count(1) as f64 / 40_000.0 - 0.25).abs() < 0.0066, "{}", count(1));
    let labels: Vec<i64> = (0..100).map(|i| i64::from(i % 10 == 0)).collect();
    let drawn = WeightedSampler::balanced(&labels, 20_000).unwrap().indices(100, 3, 0).unwrap();
    let ones = drawn.iter().filter(|&&i| labels[i] == 1).count();
    assert!((ones as f64 / 20_000.0 - 0.5).abs() < 0.011, "{ones}");
    let subset = SubsetSampler::new(vec![3, 5, 9]).indices(10, 0, 0).unwrap();
    assert_eq!(subset.iter().sum::<usize>(), 17);
}

#[test]
fn repeated_samples_are_augmented_anew() {
    let sampler = Arc::new(WeightedSampler::new(&[1.0, 0.0], 8).unwrap());
    let loader = DataLoader::new(augmented(2)).batch_size(1).sampler(sampler);
    let batches = collect(loader.epoch(0).iter());
    assert!(batches.iter().any(|b| b.inputs != batches[0].inputs));
}

#[test]
fn own_batches_can_be_given() {
    #[derive(Debug)]
    struct Pairs;
    impl Batching for Pairs {
        fn plan(&self, len: usize, _seed: u64, _epoch: u64) -> Result<BatchPlan> {
            BatchPlan::new(&[vec![0, len - 1], vec![1, 2, 3]], len)
        }
    }
    let loader = DataLoader::new(augmented(6)).batching(Arc::new(Pairs));
    let labels: Vec<_> =
        collect(loader.epoch(0).iter()).iter().map(|b| b.targets.as_i64().unwrap().to_vec()).collect();
    assert_eq!(labels, [vec![0, 2], vec![1, 2, 0]]);
    assert!(BatchPlan::new(&[vec![]], 3).is_err() && BatchPlan::new(&[vec![3]], 3).is_err());
}

/// Watches how many buffers the reading thread has had to make.
struct Watched {
    inner: Arc<dyn Dataset>,
    made: std::sync::Mutex<Vec<usize>>,
}

impl Dataset for Watched {
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn get(&self, index: usize, cx: &mut SampleCtx) -> Result<Sample> {
        self.made.lock().unwrap().push(cx.buffers.made());
        self.inner.get(index, cx)
    }
    fn gather(&self, indices: &[usize], cx: &mut SampleCtx) -> Option<Result<Batch>> {
        self.made.lock().unwrap().push(cx.buffers.made());
        self.inner.gather(indices, cx)
    }
}

#[test]
fn recycled_batches_give_their_memory_to_later_ones() {
    let whole = Arc::new(images(192)) as Arc<dyn Dataset>;
    for (set, workers) in [(whole, 0), (augmented(192), 0), (augmented(192), 1), (augmented(192), 2)] {
        let set = Arc::new(Watched { inner: set, made: Default::default() });
        let loader = DataLoader::new(set.clone()).batch_size(8).workers(workers).prefetch(1);
        // Batches are told apart by their place; a decoy takes the place of what was freed, so that only
        // a batch whose memory was kept can come back at the same address.
        let (mut places, mut decoys) = (std::collections::BTreeSet::new(), Vec::new());
        let mut ends = Vec::new();
        for epoch in 0..3 {
            // The second epoch is left in the middle, with batches read ahead that nobody takes.
            for batch in loader.epoch(epoch).iter().take(if epoch == 1 { 20 } else { 24 }) {
                let batch = batch.unwrap();
                let values = batch.inputs.as_f32().unwrap();
                places.insert(values.as_ptr());
                let size = values.len();
                loader.recycle(batch);
                decoys.push(Vec::<f32>::with_capacity(size));
            }
            ends.push(set.made.lock().unwrap().len());
        }
        // 68 batches. One is held here, as many as there are workers are under way; for each of those two
        // buffers are lent and a third may be made.
        let most = 2 + 4 * workers.max(1);
        assert!(places.len() <= most, "{} places, {workers} workers", places.len());
        let made = set.made.lock().unwrap();
        match workers {
            // A steady state from the first epoch on: nothing is made any more.
            0 => assert!(made[ends[0]..].iter().all(|m| *m == made[ends[0] - 1] && *m > 0), "{made:?}"),
            // One thread after another goes on with the memory of the one before. When it is lent what
            // depends on time; how much there can be in all does not.
            1 => assert!(made.is_sorted() && made[made.len() - 1] <= 24, "{made:?}"),
            _ => {}
        }
    }
}

#[test]
fn what_was_read_ahead_comes_back_to_the_loader() {
    let set = Arc::new(Watched { inner: augmented(64), made: Default::default() });
    let loader = DataLoader::new(set.clone()).batch_size(8).workers(1).prefetch(3);
    for epoch in 0..30 {
        // One batch is taken, up to three more are read and left.
        loader.recycle(loader.epoch(epoch).iter().next().unwrap().unwrap());
    }
    // Four batches of an input and a target, two lent of each, and what samples are built in.
    let made = set.made.lock().unwrap();
    assert!(made[made.len() - 1] <= 24, "{made:?}");
}

#[test]
fn the_fast_path_equals_stacking() {
    /// Hides the whole-batch read.
    struct Slow(ImageDataset);
    impl Dataset for Slow {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn get(&self, index: usize, cx: &mut SampleCtx) -> Result<Sample> {
            self.0.get(index, cx)
        }
    }
    for set in [images(21), images(21).normalize(&[0.1, 0.7], &[0.3, 0.9]).unwrap()] {
        let fast = DataLoader::new(Arc::new(set.clone())).batch_size(4).shuffle(3);
        let slow = DataLoader::new(Arc::new(Slow(set))).batch_size(4).shuffle(3);
        assert_eq!(collect(fast.epoch(0).iter()), collect(slow.epoch(0).iter()));
    }
}

#[test]
fn many_short_epochs_with_workers_never_hang() {
    let done = Arc::new(AtomicBool::new(false));
    let watch = Arc::clone(&done);
    let work = std::thread::spawn(move || {
        let loader = DataLoader::new(augmented(7)).batch_size(2).workers(3);
        for epoch in 0..300 {
            let take = (epoch % 5) as usize;
            assert_eq!(loader.epoch(epoch).iter().take(take).count(), take.min(4));
        }
        watch.store(true, Ordering::Relaxed);
    });
    let start = Instant::now();
    while !done.load(Ordering::Relaxed) {
        assert!(start.elapsed() < Duration::from_secs(60), "the loader hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
    work.join().unwrap();
}
