package org.fusednorm.cuda;

import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.cuda.NormPlan.Direction;
import org.fusednorm.cuda.SinglePassColumns.Rows;
import org.fusednorm.cuda.SinglePassColumns.Run;

/**
 * {@code cuda/single_pass_column_teams.cu}: a run as {@link SinglePassColumns} cuts it lies in the
 * shared memory of a team of blocks across the GPU, which takes one run after another. The vectors
 * of the next run come as the results of a run leave.
 *
 * <p>Kind cg_grid, a team of as many blocks as the rows need, a power of two from 2 to 128, of
 * {@value #THREADS} threads each. Runs are {@value #WIDE} vectors wide (128 bytes), or {@value
 * #NARROW} or {@value #NARROWEST} where the largest team cannot hold those; narrower ones would
 * share what memory moves at once.
 *
 * <table>
 * <caption>Most rows of a run of u vectors for each block: floor(512 / u) times this</caption>
 * <tr><th>GPU</th><th>forward</th><th>backward</th></tr>
 * <tr><td>sm_90, sm_100</td><td>26</td><td>13</td></tr>
 * <tr><td>sm_120</td><td>10</td><td>5</td></tr>
 * </table>
 *
 * The blocks of a team wait for each other, so that all of the grid have to be on the GPU at a
 * time: see {@link Teams}.
 */
final class SinglePassColumnTeams extends SinglePass {
  private static final int THREADS = 512;
  private static final int WIDE = 8;
  private static final int NARROW = 4;
  private static final int NARROWEST = 2;
  private static final Kind TEAM = new Kind("cg", "grid", THREADS, 1);
  static final List<Kind> KINDS = List.of(TEAM);

  /** Shared memory that the kernels declare, rounded up. */
  private static final int DECLARED = 19 << 10;

  final Run run;
  private final Rows rows;

  /** Blocks that share a run. */
  private final int together;

  /** Rows of a block. */
  private final long share;

  /** Vectors that a thread has of each tensor. */
  final long rounds;

  /** Tensors that a block holds. */
  private final int tensors;

  private SinglePassColumnTeams(Data d, Run run) {
    super(TEAM, d, SinglePassColumns.isWhole(d, run));
    this.run = run;
    rows = Rows.of(d);
    tensors = d.direction() == Direction.FORWARD ? 1 : 2;
    int abreast = run.abreast(THREADS);
    together = teamOf(ceiling(rows.rows(), mostRounds(d) * abreast));
    share = ceiling(rows.rows(), together);
    rounds = ceiling(share, abreast);
  }

  private static long mostRounds(Data d) {
    int tensors = d.direction() == Direction.FORWARD ? 1 : 2;
    return (sharedMemory(d.architecture()) - DECLARED) / (tensors * THREADS * VECTOR);
  }

  static Stream<SinglePass> fitting(Data d) {
    if (d.architecture() < CLUSTERS) {
      return Stream.of();
    }
    return SinglePassColumns.runs(d, WIDE, NARROW, NARROWEST)
        .map(run -> new SinglePassColumnTeams(d, run))
        .filter(s -> s.rounds <= mostRounds(d) && s.rows.runs(s.run) <= MOST_TURNS)
        .map(SinglePass.class::cast)
        .findFirst()
        .stream();
  }

  @Override
  long blocks(int multiprocessors) {
    return Math.min(rows.runs(run), Math.max(1, multiprocessors / together)) * together;
  }

  @Override
  int team() {
    return together;
  }

  @Override
  int sharedBytes() {
    return (int) (tensors * rounds * THREADS * VECTOR);
  }

  /** Nothing is on its way while a team meets. */
  @Override
  boolean readsAhead() {
    return false;
  }

  @Override
  void write(Kernel k, long values) {
    rows.write(k, run, THREADS, share, values);
    k.arg(rounds).arg((long) together).team();
  }
}
