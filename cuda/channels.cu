// What is per channel: parts merged, coefficients, slopes, parameter gradients, running statistics.
// All in F64.
//
//   entry                 reduces over
//   channel_moments       the parts of moments, in a fixed tree; a warp for each channel
//   channel_sums          the parts of gradient_sums, likewise
//   channel_merge         what several devices gathered, in rank order; a thread for each channel
//   channel_merge_sums    likewise
//   channel_coefficients  nothing; a thread for each channel, as of the others
//   channel_slopes        nothing
//   channel_gradients     nothing
//   commit                nothing; a block for each layer
//
// Block contract: blocks of 256 threads, any number of them (at least one: where there are no
// channels, the count is still written); commit has one block for each layer. No block waits for
// another. Bytes moved: each number is read and written once.

#include "channels.cuh"

BN_DEVICE int64_t first_warp() { return thread_in_grid() / 32; }
BN_DEVICE int64_t warps() { return threads_in_grid() / 32; }

struct ChannelMomentsArgs {
  Parts parts;
  int64_t channels;
  double* packed;  // count, means, M2s; null: not wanted
  SavedOut saved;  // center null: not wanted
};

BN_RESIDENT_ENTRY(256, 2) channel_moments(const ChannelMomentsArgs g) {
  BN_UNROLL_BY(1)
  for (int64_t channel = first_warp(); channel < g.channels; channel += warps()) {
    double mean, m2;
    g.parts.moments(channel, mean, m2);
    if (threadIdx.x % 32 == 0) {
      if (g.packed) {
        g.packed[1 + channel] = mean;
        g.packed[1 + g.channels + channel] = m2;
      }
      const int64_t n = g.parts.total;
      if (g.saved.center) g.saved.put(channel, mean, n == 0 ? 0 : m2 / double(n));
    }
  }
  if (thread_in_grid() == 0) {
    if (g.packed) g.packed[0] = double(g.parts.total);
    g.saved.put_count(g.parts.total);
  }
}

struct ChannelSumsArgs {
  Parts parts;
  int64_t channels;
  double* packed;    // sums of dy, sums of dy xhat
  SlopesOut slopes;  // its slope null: not wanted
};

BN_RESIDENT_ENTRY(256, 2) channel_sums(const ChannelSumsArgs g) {
  BN_UNROLL_BY(1)
  for (int64_t channel = first_warp(); channel < g.channels; channel += warps()) {
    double dy, dy_centered;
    g.parts.sums(channel, dy, dy_centered);
    if (threadIdx.x % 32 == 0) {
      g.slopes.finish(channel, g.channels, dy, dy_centered, g.packed);
    }
  }
}

struct ChannelMergeArgs {
  const double* gathered;  // packed moments (or sums), one after another
  int64_t parts, channels;
  double* packed;
};

// Chan, Golub and LeVeque 1979: one part after another into what was merged so far.
BN_RESIDENT_ENTRY(256, 2) channel_merge(const ChannelMergeArgs g) {
  const int64_t size = 1 + 2 * g.channels;
  BN_UNROLL_BY(1)
  for (int64_t channel = thread_in_grid(); channel < g.channels; channel += threads_in_grid()) {
    double count = 0, mean = 0, m2 = 0;
    BN_UNROLL_BY(1)
    for (int64_t i = 0; i < g.parts; ++i) {
      const double* const part = g.gathered + i * size;
      const double n = part[0], m = part[1 + channel], squares = part[1 + g.channels + channel];
      if (n == 0) continue;
      if (count == 0) {
        count = n;
        mean = m;
        m2 = squares;
        continue;
      }
      const double weight = n / (count + n), d = m - mean;
      mean += d * weight;
      m2 += squares + d * d * (count * weight);
      count += n;
    }
    g.packed[1 + channel] = mean;
    g.packed[1 + g.channels + channel] = m2;
  }
  if (thread_in_grid() == 0) {
    double total = 0;
    BN_UNROLL_BY(1)
    for (int64_t i = 0; i < g.parts; ++i) total += g.gathered[i * size];
    g.packed[0] = total;
  }
}

BN_RESIDENT_ENTRY(256, 2) channel_merge_sums(const ChannelMergeArgs g) {
  const int64_t size = 2 * g.channels;
  BN_UNROLL_BY(1)
  for (int64_t i = thread_in_grid(); i < size; i += threads_in_grid()) {
    double sum = 0;
    BN_UNROLL_BY(1)
    for (int64_t part = 0; part < g.parts; ++part) sum += g.gathered[part * size + i];
    g.packed[i] = sum;
  }
}

struct ChannelCoefficientsArgs {
  const double* moments;  // packed; null: of constant statistics, the next two
  const double *mean, *variance;
  int64_t channels;
  SavedOut saved;
};

BN_RESIDENT_ENTRY(256, 2) channel_coefficients(const ChannelCoefficientsArgs g) {
  const double n = g.moments ? g.moments[0] : 0;
  BN_UNROLL_BY(1)
  for (int64_t channel = thread_in_grid(); channel < g.channels; channel += threads_in_grid()) {
    if (g.moments) {
      const double m2 = g.moments[1 + g.channels + channel];
      g.saved.put(channel, g.moments[1 + channel], n == 0 ? 0 : m2 / n);
    } else {
      g.saved.put(channel, g.mean[channel], g.variance[channel]);
    }
  }
  if (thread_in_grid() == 0) g.saved.put_count(int64_t(n));
}

struct ChannelSlopesArgs {
  const double* packed;  // sums of dy, sums of dy xhat
  int64_t channels;
  SlopesOut slopes;
};

BN_RESIDENT_ENTRY(256, 2) channel_slopes(const ChannelSlopesArgs g) {
  BN_UNROLL_BY(1)
  for (int64_t channel = thread_in_grid(); channel < g.channels; channel += threads_in_grid()) {
    g.slopes.put(channel, g.packed[channel], g.packed[g.channels + channel]);
  }
}

struct ChannelGradientsArgs {
  const double* packed;
  int64_t channels;
  void *gamma, *beta;  // null: not wanted
  int64_t add, wide;   // to what is there; of F64
};

BN_RESIDENT_ENTRY(256, 2) channel_gradients(const ChannelGradientsArgs g) {
  const Coefficient type{g.wide != 0};
  BN_UNROLL_BY(1)
  for (int64_t channel = thread_in_grid(); channel < g.channels; channel += threads_in_grid()) {
    const auto put = [&](void* to, double v) {
      if (to) type.put(to, channel, v + (g.add ? type.get(to, channel, 0) : 0));
    };
    put(g.beta, g.packed[channel]);
    put(g.gamma, g.packed[g.channels + channel]);
  }
}

// One layer's batch statistics, and the running ones that they enter.
struct Commit {
  const int64_t* count;
  const double *mean, *variance;
  double *running_mean, *running_variance;
  int64_t* batches;
  const double* momentum;  // null: all batches weigh the same
  int64_t channels, unbiased;
};

constexpr int kMostCommits = 32;

struct CommitArgs {
  Commit layer[kMostCommits];
};

BN_RESIDENT_ENTRY(256, 2) commit(const CommitArgs g) {
  const Commit& c = g.layer[blockIdx.x];
  const int64_t n = *c.count;
  if (n < 2) return;
  const int64_t batches = *c.batches + 1;
  const double weight = c.momentum ? *c.momentum : 1 / double(batches);
  const double correction = c.unbiased ? double(n) / double(n - 1) : 1;
  BN_UNROLL_BY(1)
  for (int64_t i = threadIdx.x; i < c.channels; i += blockDim.x) {
    c.running_mean[i] = (1 - weight) * c.running_mean[i] + weight * c.mean[i];
    c.running_variance[i] =
        (1 - weight) * c.running_variance[i] + weight * (c.variance[i] * correction);
  }
  // Every thread has read the number of batches.
  __syncthreads();
  if (threadIdx.x == 0) *c.batches = batches;
}
