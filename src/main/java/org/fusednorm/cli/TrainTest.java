package org.fusednorm.cli;

/**
 * Images to learn from and images to be judged on.
 *
 * @param train the training set
 * @param test the held-out set, of the same image size and classes
 */
public record TrainTest(Dataset train, Dataset test) {
  /**
   * Checks that both sets have images of one size and the same classes.
   *
   * @throws IllegalArgumentException if they differ
   */
  public TrainTest {
    if (train.rows() != test.rows()
        || train.columns() != test.columns()
        || train.classes() != test.classes()) {
      throw new IllegalArgumentException(
          "training set is " + form(train) + ", test set is " + form(test));
    }
  }

  private static String form(Dataset set) {
    return set.rows() + " x " + set.columns() + " in " + set.classes() + " classes";
  }
}
