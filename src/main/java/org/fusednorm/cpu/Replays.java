package org.fusednorm.cpu;

import java.util.List;
import org.fusednorm.Engine;

/**
 * Launches that are run again and again, of which those that are worth it are helped with: what
 * that is depends on how far apart the machine's cores are, and is measured. Never changes results.
 */
final class Replays implements Engine.Graph {
  private final Workers workers;
  private final Runnable[] launches;
  private final HelpChoice choice = new HelpChoice();

  Replays(Workers workers, List<Runnable> launches) {
    this.workers = workers;
    this.launches = launches.toArray(new Runnable[0]);
  }

  @Override
  public void launch() {
    Scratch s = workers.scratch();
    long before = s.worthHelp;
    s.worthHelp = choice.worthHelp();
    long start = System.nanoTime();
    try {
      for (Runnable r : launches) {
        r.run();
      }
    } finally {
      s.worthHelp = before;
    }
    choice.took(System.nanoTime() - start);
  }

  @Override
  public void close() {}
}
