package org.fusednorm.cuda;

import java.util.HashSet;
import java.util.Set;

/**
 * Who may launch kernels whose blocks wait for each other all over a GPU. They end if all blocks of
 * the launch get onto the GPU: the grid has no more than one for each multiprocessor, and whatever
 * else runs there ends by itself. Two such launches at a time could each hold what the other one
 * waits for; so one engine of a device has them to itself from its start to its end, and its stream
 * lets one run after another. Other engines take other kernels. Against other processes that share
 * the GPU at the same time (MPS) nothing helps but a bound, after which the launch fails.
 */
final class Teams {
  private static final Set<Integer> TAKEN = new HashSet<>();

  private Teams() {}

  /** Whether the caller has teams of this device to itself now, until {@link #give}. */
  static boolean take(int device) {
    synchronized (TAKEN) {
      return TAKEN.add(device);
    }
  }

  static void give(int device) {
    synchronized (TAKEN) {
      TAKEN.remove(device);
    }
  }
}
