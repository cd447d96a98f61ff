package org.fusednorm.cuda;

import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.cuda.NormPlan.Direction;

/**
 * {@code cuda/single_pass_columns.cu}: planes that are no whole vectors, or single elements
 * (channels last). Rows, one for each outer index, are cut into runs of whole vectors of
 * neighbouring channels; a run of all rows lies in the registers of a cluster.
 *
 * <p>A run has the fewest channels that make whole vectors, k = 16 / gcd(bytes of a plane, 16),
 * doubled until it is {@value #WIDE} vectors wide (128 bytes: what memory and caches like) or has
 * all channels; of F32 forward doubled once more if its vectors are odd in number, because two of
 * them share a byte of the gate. For that reason runs also take planes of an odd number of whole
 * vectors of F32, forward, if rows have an even one. Where the rows of such runs are too many for
 * the largest cluster, runs are {@value #NARROW} vectors wide; what is too large for these is
 * {@link SinglePassColumnTeams}'. A run has at most {@value #THREADS} vectors and {@value
 * #MOST_CHANNELS} channels.
 *
 * <table>
 * <caption>Most rows of a run of u vectors: floor(256 / u) times this</caption>
 * <tr><th>kind</th><th>threads</th><th>cluster</th><th>forward</th><th>backward</th><th>GPU</th>
 *     </tr>
 * <tr><td>cols_c1</td><td>256</td><td>1</td><td>8</td><td>4</td><td>any</td></tr>
 * <tr><td>cols_c2</td><td>256</td><td>2</td><td>16</td><td>8</td><td>sm_90 or newer</td></tr>
 * <tr><td>cols_c4</td><td>256</td><td>4</td><td>32</td><td>16</td><td>sm_90 or newer</td></tr>
 * <tr><td>cols_c8</td><td>256</td><td>8</td><td>64</td><td>32</td><td>sm_90 or newer</td></tr>
 * <tr><td>cols_c16</td><td>256</td><td>16</td><td>128</td><td>64</td><td>sm_90 or newer</td></tr>
 * </table>
 *
 * Rows are whole vectors. A forward that writes a gate of F32 takes the sums alone where rows or
 * runs have an odd number of vectors.
 */
final class SinglePassColumns extends SinglePass {
  private static final int THREADS = 256;
  private static final int WIDE = 8;
  private static final int NARROW = 4;

  /** Of a run. */
  static final int MOST_CHANNELS = 64;

  /** Vectors that a thread holds, forward; backward has to hold dy as well. */
  private static final int HELD = 8;

  /** In the order in which they are tried. */
  static final List<Kind> KINDS =
      Stream.of(1, 2, 4, 8, 16).map(n -> new Kind("cols", "c" + n, THREADS, n)).toList();

  /**
   * How rows are cut.
   *
   * @param channels of a run
   * @param vectors of a run
   */
  record Run(int channels, int vectors) {
    /** The most rows. */
    long capacity(Kind kind, Direction d) {
      return (long) kind.cluster() * abreast(THREADS) * (d == Direction.FORWARD ? HELD : HELD / 2);
    }

    /** Rows that the threads of a block take side by side. */
    int abreast(int threads) {
      return threads / vectors;
    }
  }

  /**
   * The data as rows.
   *
   * @param rows their number
   * @param stride vectors of a row
   * @param inner elements of a plane
   * @param channels of a row
   */
  record Rows(long rows, long stride, long inner, long channels) {
    static Rows of(Data d) {
      return new Rows(d.planes(), d.channels() * d.run() / d.unit(), d.run(), d.channels());
    }

    /** Runs of a row. */
    long runs(Run run) {
      return ceiling(channels, run.channels);
    }

    /** Whether a byte of an F32 gate, which two vectors have together, is of one run and row. */
    boolean isEven(Run run) {
      return run.vectors % 2 == 0 && stride % 2 == 0;
    }

    /** The struct of that name. */
    void write(Kernel k, Run run, int threads, long share, long values) {
      long lanes = Math.min(WARP, Integer.highestOneBit(threads / run.channels));
      k.arg(rows).arg(share).arg(stride).arg((long) run.vectors).arg((long) run.abreast(threads));
      k.arg((long) run.channels).arg(lanes).arg(inner).arg(channels);
      k.arg(ceiling(1L << 32, run.vectors)).arg(ceiling(1L << 32, inner));
      k.arg(values).arg(1.0 / values);
    }
  }

  final Run run;
  private final Rows rows;

  private SinglePassColumns(Kind kind, Data d, Run run) {
    super(kind, d, isWhole(d, run));
    this.run = run;
    rows = Rows.of(d);
  }

  /** Whether a gate is written too. */
  static boolean isWhole(Data d, Run run) {
    return !d.writesGate() || d.unit() == Byte.SIZE || Rows.of(d).isEven(run);
  }

  static Stream<SinglePass> fitting(Data d) {
    return runs(d, WIDE, NARROW)
        .map(run -> KINDS.stream().filter(k -> fits(d, run, k)).map(k -> of(k, d, run)).toList())
        .filter(list -> !list.isEmpty())
        .findFirst()
        .stream()
        .flatMap(List::stream);
  }

  /** Runs of at least so many vectors, where there are as many; none of data that is not cut. */
  static Stream<Run> runs(Data d, Integer... widths) {
    if (!d.hasVectors() || d.run() > (long) THREADS * d.unit()) {
      return Stream.of();
    }
    boolean planesAreVectors = d.run() > 1 && d.run() % d.unit() == 0;
    if (planesAreVectors && !planesShareBytes(d)) {
      return Stream.of();
    }
    if (d.channels() == 0 || d.channels() > MOST || d.channels() * d.run() % d.unit() != 0) {
      return Stream.of();
    }
    Rows rows = Rows.of(d);
    if (rows.rows > MOST / rows.stride) {
      return Stream.of();
    }
    return Stream.of(widths)
        .map(width -> run(d, width))
        .filter(run -> run.vectors <= THREADS && run.channels <= MOST_CHANNELS)
        .filter(run -> !planesAreVectors || rows.isEven(run));
  }

  private static SinglePass of(Kind kind, Data d, Run run) {
    return new SinglePassColumns(kind, d, run);
  }

  private static boolean fits(Data d, Run run, Kind kind) {
    return kind.isIn(d.architecture())
        && d.planes() <= run.capacity(kind, d.direction())
        && Rows.of(d).runs(run) <= MOST / kind.cluster();
  }

  private static Run run(Data d, int width) {
    int inner = (int) d.run();
    int channels = d.unit() / Math.min(d.unit(), Integer.lowestOneBit(inner));
    while (channels < d.channels() && isShort(d, width, channels * inner / d.unit())) {
      int twice = 2 * channels;
      if (twice > MOST_CHANNELS || twice * inner / d.unit() > THREADS) {
        break;
      }
      channels = twice;
    }
    return new Run(channels, channels * inner / d.unit());
  }

  /** Whether there is a gate does not count: sums must not change. */
  private static boolean isShort(Data d, int width, int vectors) {
    boolean shared = d.direction() == Direction.FORWARD && d.unit() < Byte.SIZE;
    return vectors < width || shared && vectors % 2 != 0;
  }

  /** Of a gate: two planes of an odd number of vectors would, but not two rows of them. */
  private static boolean planesShareBytes(Data d) {
    return d.direction() == Direction.FORWARD && d.run() % Byte.SIZE != 0;
  }

  @Override
  long blocks(int multiprocessors) {
    return rows.runs(run) * kind.cluster();
  }

  @Override
  void write(Kernel k, long values) {
    rows.write(k, run, THREADS, ceiling(rows.rows, kind.cluster()), values);
  }
}
