#include "doorbell_test.h"
TEST(none) { }
TEST_HARNESS_MAIN
