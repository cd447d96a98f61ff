package org.fusednorm.reference;

import org.fusednorm.Availability;
import org.fusednorm.BackendException;
import org.fusednorm.Engine;
import org.fusednorm.EngineProvider;

/** Offers the {@link ReferenceEngine}, which is there everywhere and preferred nowhere. */
public final class ReferenceProvider implements EngineProvider {
  static final String NAME = "reference";

  /** For {@link java.util.ServiceLoader}. */
  public ReferenceProvider() {}

  @Override
  public String name() {
    return NAME;
  }

  @Override
  public int rank() {
    return 0;
  }

  @Override
  public Availability availability() {
    return Availability.available(NAME, ReferenceEngine.DESCRIPTION);
  }

  @Override
  public Engine open(int index) {
    if (index != 0) {
      throw new BackendException("there is no " + NAME + ":" + index + ", only " + NAME + ":0");
    }
    return new ReferenceEngine();
  }
}
