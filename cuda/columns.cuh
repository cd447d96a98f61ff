// What the kernels share that hold runs of neighbouring channels, be it in the registers of a
// cluster or in the shared memory of a team.
#pragma once

#include "single_pass.cuh"

constexpr int kMostChannels = 64;  // of a run

// How rows are cut, in vectors but where it says otherwise.
struct Rows {
  int64_t rows;
  int64_t share;                   // rows of a block; the last ones may have fewer or none
  int64_t stride;                  // of a row
  int64_t run;                     // of a run
  int64_t abreast;                 // rows that the threads of a block take side by side
  int64_t group;                   // channels of a run
  int64_t lanes;                   // threads that add up a channel, a power of two up to 32
  int64_t inner;                   // elements of a plane
  int64_t channels;                // of a row
  int64_t magic_run, magic_inner;  // 2^32 / run and 2^32 / inner, rounded up
  int64_t values;                  // of a channel
  double per_value;                // 1 / values
};

BN_DEVICE uint32_t quotient_of(uint32_t n, int64_t magic) {
  return uint32_t(uint64_t(n) * uint64_t(magic) >> 32);
}

// Where a thread stands: at the same place of the run in all of its rows, so that its elements
// have the same channels.
struct Stand {
  uint32_t address;   // of its first vector
  uint32_t position;  // in the run
  uint32_t channels;  // of the run
  int left;           // rows of the block from its first one on; none for an idle thread

  BN_DEVICE Stand(const Rows& w, uint32_t run, uint32_t rank) {
    const uint32_t row = quotient_of(threadIdx.x, w.magic_run), in_row = run * uint32_t(w.run);
    position = threadIdx.x - row * uint32_t(w.run);
    const uint32_t rest = uint32_t(w.channels) - run * uint32_t(w.group);
    channels = rest < uint32_t(w.group) ? rest : uint32_t(w.group);
    // Threads too many for whole rows, or beyond the end of a row, have none.
    const bool idle = row >= uint32_t(w.abreast) || in_row + position >= uint32_t(w.stride);
    left = idle ? 0 : rows(w, rank) - int(row);
    address = (rank * uint32_t(w.share) + row) * uint32_t(w.stride) + in_row + position;
  }
  // Of a block; none or less for the last ones.
  static BN_DEVICE int rows(const Rows& w, uint32_t rank) {
    const int64_t rest = w.rows - int64_t(rank) * w.share;
    return int(rest < w.share ? rest : w.share);
  }
  // Whether the thread has an i-th vector, and where that is.
  BN_DEVICE bool has(const Rows& w, int i) const { return i * int(w.abreast) < left; }
  BN_DEVICE uint32_t unit(const Rows& w, int i) const {
    return address + uint32_t(i) * uint32_t(w.abreast * w.stride);
  }
  // Of the run, the channel of the e-th element; the first for an idle thread.
  template <int E>
  BN_DEVICE uint32_t channel(const Rows& w, int e) const {
    const uint32_t c = quotient_of(position * E + uint32_t(e), w.magic_inner);
    return c < channels ? c : 0;
  }
};

// The sums of a run's channels over the block, in F64 and in a fixed order: the rows of a thread in
// F32, then the elements of a channel by `lanes` threads, these. The first of them finishes the
// channel.
template <class Units>
struct ColumnSums {
  static constexpr int E = Units::kElements;

  const Rows& w;
  const Stand& at;
  const uint32_t rank;  // of the block among those that share the run
  int* const again;     // of each channel, not 0: F32 could not hold it

  BN_DEVICE uint32_t channel() const { return threadIdx.x / uint32_t(w.lanes); }
  BN_DEVICE uint32_t lane() const { return threadIdx.x % uint32_t(w.lanes); }
  BN_DEVICE bool finishes() const { return lane() == 0 && channel() < at.channels; }

  // What a thread has of its elements over its rows, for all threads behind a barrier.
  static BN_DEVICE void put(float* of_threads, const float (&v)[E]) {
    BN_UNROLL
    for (int e = 0; e < E; ++e) of_threads[threadIdx.x * E + e] = v[e];
  }

  // `add` gets the places of what the calling thread adds of its channel.
  template <class Add>
  BN_DEVICE void of_lane(const Add& add) const {
    const uint32_t inner = uint32_t(w.inner);
    const uint32_t all = channel() < at.channels ? inner * uint32_t(w.abreast) : 0;
    BN_UNROLL_BY(1)
    for (uint32_t i = lane(); i < all; i += uint32_t(w.lanes)) {
      const uint32_t row = quotient_of(i, w.magic_inner);
      add(row * uint32_t(w.run) * E + channel() * inner + (i - row * inner));
    }
  }
  // The same for channels that are done again: `add` gets elements of the tensor.
  template <class Add>
  BN_DEVICE void of_lane_again(uint32_t run, const Add& add) const {
    if (channel() >= at.channels || !again[channel()]) return;
    const uint32_t inner = uint32_t(w.inner);
    const int rows = Stand::rows(w, rank);
    BN_UNROLL_BY(1)
    for (int row = 0; row < rows; ++row) {
      const int64_t first = (int64_t(rank) * w.share + row) * w.stride + int64_t(run) * w.run;
      BN_UNROLL_BY(1)
      for (uint32_t i = lane(); i < inner; i += uint32_t(w.lanes)) {
        add(first * E + channel() * inner + i);
      }
    }
  }

  // All threads come. Those of a channel get what they have together.
  BN_DEVICE void over_lanes(double& p, double& q) const {
    BN_UNROLL_BY(1)
    for (int m = 1; m < int(w.lanes); m *= 2) {
      p += __shfl_xor_sync(~0u, p, m);
      q += __shfl_xor_sync(~0u, q, m);
    }
  }
};

struct ColumnsForwardArgs : SinglePassForwardArgs {
  Rows rows;
};
struct ColumnsBackwardArgs : SinglePassBackwardArgs {
  Rows rows;
};

// All threads come, with what they have of their channel: `together` adds up over the blocks that
// share the run. `finish` gets a channel, where that is in the run, and its sums, and says whether
// they are exact; channels whose sums are not are taken again in F64. All threads see what was
// found.
template <class Units, class Together, class Sums, class Finish>
BN_DEVICE void finish_channels(const Rows& w, Together& together, const Sums& sums, uint32_t run,
                               double p, double q, const Finish& finish) {
  const Units units{};
  const uint32_t mine = together.channel();
  const int64_t channel = int64_t(run) * w.group + mine;
  BN_UNROLL_BY(1)
  for (int time = 0; time < 2; ++time) {
    together.add(time, p, q);
    bool exact = true;
    if (together.finishes() && (time == 0 || together.again[mine])) {
      finish(channel, mine, time > 0, p, q, exact);
      if (time == 0) together.again[mine] = !exact;
    }
    if (!__syncthreads_or(!exact)) break;
    p = q = 0;
    together.of_lane_again(run, [&](int64_t element) {
      sums.add_exactly(units, channel, channel * w.inner, element, p, q);
    });
  }
}

// The coefficients of a thread's elements, given those of the run's channels.
template <int E>
BN_DEVICE void set_each(Coefficients<float, E>& k, const Rows& w, const Stand& at,
                        const Found* found) {
  BN_UNROLL
  for (int e = 0; e < E; ++e) {
    const Found& f = found[at.channel<E>(w, e)];
    k.set(e, f.center, f.scale, f.shift);
  }
}
template <int E>
BN_DEVICE void set_each(InputGradient<float>::Constants<E>& k, const Rows& w, const Stand& at,
                        const FoundSlope* found) {
  BN_UNROLL
  for (int e = 0; e < E; ++e) {
    const FoundSlope& f = found[at.channel<E>(w, e)];
    k.set(e, f.slope, f.offset);
  }
}
