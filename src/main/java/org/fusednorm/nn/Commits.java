package org.fusednorm.nn;

import java.util.ArrayList;
import java.util.List;
import org.fusednorm.Backend;
import org.fusednorm.Running;
import org.fusednorm.Saved;

/** The statistics that a forward leaves to be taken into running ones: one launch for all. */
final class Commits {
  private final List<Saved> saved = new ArrayList<>();
  private final List<Running> running = new ArrayList<>();

  void add(Saved s, Running r) {
    saved.add(s);
    running.add(r);
  }

  void run(Backend backend) {
    if (!saved.isEmpty()) {
      backend.norm().commit(saved, running);
    }
  }
}
