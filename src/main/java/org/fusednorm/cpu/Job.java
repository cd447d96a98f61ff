package org.fusednorm.cpu;

/**
 * Work in numbered items that may run in any order and on any thread. Jobs are kept and reused:
 * their fields are written before {@link Workers#run} and read by all of its threads.
 */
abstract class Job {
  /** Does one item, with buffers that belong to the running thread. */
  abstract void run(int item, Scratch s);

  /**
   * Called in every thread after the last item that it did, with the same buffers.
   *
   * @param whole false where an item failed
   */
  void end(Scratch s, boolean whole) {}
}
