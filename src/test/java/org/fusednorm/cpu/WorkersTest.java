package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;

class WorkersTest {
  private static final class Counting extends Job {
    final AtomicIntegerArray runs;

    Counting(int items) {
      runs = new AtomicIntegerArray(items);
    }

    @Override
    void run(int item, Scratch s) {
      runs.incrementAndGet(item);
    }

    void assertEach(int times) {
      for (int i = 0; i < runs.length(); i++) {
        assertEquals(times, runs.get(i), "runs of item " + i);
      }
    }
  }

  private static long helpers() {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(t -> t.getName().startsWith("fusednorm-cpu-"))
        .count();
  }

  @Test
  void everyItemRunsOnceWhateverTheNumberOfThreads() {
    for (int threads : new int[] {1, 2, 3, 9}) {
      try (Workers w = new Workers(threads)) {
        for (int items : new int[] {0, 1, 2, 7, 1000}) {
          Counting job = new Counting(items);
          for (int i = 0; i < 200; i++) {
            w.run(job, items);
          }
          job.assertEach(200);
        }
      }
    }
  }

  @Test
  void everyItemIsDoneWhenRunReturns() {
    try (Workers w = new Workers(3)) {
      double[] cells = new double[64];
      Job fill =
          new Job() {
            @Override
            void run(int item, Scratch s) {
              cells[item] += 1;
            }
          };
      for (int i = 1; i <= 20_000; i++) {
        w.run(fill, 64);
        for (double c : cells) {
          assertEquals(i, c);
        }
      }
    }
  }

  @Test
  void callersDoNotDisturbEachOther() throws InterruptedException {
    try (Workers w = new Workers(2)) {
      List<Counting> jobs = new ArrayList<>();
      List<Thread> callers = new ArrayList<>();
      for (int c = 0; c < 4; c++) {
        Counting job = new Counting(50);
        jobs.add(job);
        callers.add(
            new Thread(
                () -> {
                  for (int i = 0; i < 500; i++) {
                    w.run(job, 50);
                  }
                }));
      }
      callers.forEach(Thread::start);
      for (Thread t : callers) {
        t.join();
      }
      jobs.forEach(j -> j.assertEach(500));
    }
  }

  @Test
  void aFailureReachesTheCallerAndThePoolLivesOn() {
    IllegalStateException planted = new IllegalStateException("planted");
    Job failing =
        new Job() {
          @Override
          void run(int item, Scratch s) {
            if (item == 20) {
              throw planted;
            }
          }
        };
    try (Workers w = new Workers(3)) {
      for (int i = 0; i < 50; i++) {
        assertSame(planted, assertThrows(IllegalStateException.class, () -> w.run(failing, 40)));
        Counting job = new Counting(30);
        w.run(job, 30);
        job.assertEach(1);
      }
    }
  }

  @Test
  void aFailureOfTheCallerAndAHelperAtOnceIsOverWithItsJob() {
    CyclicBarrier both = new CyclicBarrier(2);
    Job failing =
        new Job() {
          @Override
          void run(int item, Scratch s) {
            try {
              both.await();
            } catch (InterruptedException | BrokenBarrierException e) {
              throw new AssertionError(e);
            }
            throw new IllegalStateException("planted in " + item);
          }
        };
    try (Workers w = new Workers(2)) {
      for (int i = 0; i < 20; i++) {
        assertThrows(IllegalStateException.class, () -> w.run(failing, 2));
        Counting innocent = new Counting(30);
        w.run(innocent, 30);
        innocent.assertEach(1);
      }
    }
  }

  @Test
  void helpersStartOnceAndEndWithTheEngine() {
    long before = helpers();
    try (Workers w = new Workers(4)) {
      for (int i = 0; i < 100; i++) {
        w.run(new Counting(8), 8);
        assertEquals(before + 3, helpers());
      }
    }
    assertEquals(before, helpers());
  }
}
